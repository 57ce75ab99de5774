"""A pytest plugin: a test that takes more than 5 seconds fails unless it is marked `slow`.

What counts is the test itself: its setup and its call, without the fixtures that it shares with
other tests and without the modules that it happens to be the first to import. Seconds are
processor seconds, of this process and of the child processes that it waited for, so that a busy
machine fails nothing. A test that waits for something else may take `WAIT_FACTOR` times as long by
the clock. A slower machine takes a higher limit: `pytest -o seconds_without_slow=20`; 0 switches
the limit off.
"""

import builtins
import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

DEFAULT_SECONDS = "5"
WAIT_FACTOR = 5
"""How much longer a test may take by the clock: the processors may be busy with something else."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """A length of time: by the processors and by the clock."""

    processor: float = 0.0
    clock: float = 0.0

    @classmethod
    def now(cls) -> "Seconds":
        """Time since some fixed moment."""
        times = os.times()
        children = times.children_user + times.children_system
        return cls(times.user + times.system + children, time.perf_counter())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.processor + other.processor, self.clock + other.clock)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.processor - other.processor, self.clock - other.clock)

    def exceed(self, limit: float) -> bool:
        """Whether they are more than a test may take."""
        return self.processor > limit or self.clock > WAIT_FACTOR * limit


class TimeLimit:
    """Measures every test and fails the ones that take too long."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.taken = Seconds()
        """By the test that runs, so far."""
        self.shared = Seconds()
        """By what tests share, so far."""
        self.is_shared = False
        """Whether what runs now is shared."""
        self.import_module = builtins.__import__
        self.thread = threading.get_ident()

    def load(self, name: str, *details: Any, **named: Any) -> Any:
        """Import a module, as `builtins.__import__` does; the first import is shared."""
        if name in sys.modules or threading.get_ident() != self.thread:
            return self.import_module(name, *details, **named)
        with self._shared():
            return self.import_module(name, *details, **named)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        """Measure the fixtures that are the test's own."""
        self.taken = Seconds()
        return (yield from self._measured())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Measure the test."""
        return (yield from self._measured())

    def _measured(self) -> Generator[None, Any, Any]:
        before = Seconds.now() - self.shared
        try:
            return (yield)
        finally:
            self.taken += Seconds.now() - self.shared - before

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Keep apart what the block takes; one within another is counted once."""
        if self.is_shared:
            yield
            return
        before, self.is_shared = Seconds.now(), True
        try:
            yield
        finally:
            self.is_shared = False
            self.shared += Seconds.now() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Keep apart what a fixture of a wider scope takes; it may ask for others."""
        if fixturedef.scope == "function":
            return (yield)
        with self._shared():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Turn the report of a test that passed and took too long into a failure."""
        report = yield
        is_judged = report.when == "call" and report.passed and not item.get_closest_marker("slow")
        if is_judged and self.taken.exceed(self.limit):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {self.taken.processor:.1f} s of the processors and "
                f"{self.taken.clock:.1f} s by the clock; a test without the mark slow may take "
                f"{self.limit:g} s and {WAIT_FACTOR * self.limit:g} s: make it faster or mark it"
            )
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting."""
    words = "seconds that a test may take without the mark slow; 0 switches the limit off"
    parser.addini("seconds_without_slow", words, default=DEFAULT_SECONDS)


def pytest_configure(config: pytest.Config) -> None:
    """Measure tests where there is a limit."""
    if limit := float(config.getini("seconds_without_slow")):
        plugin, patch = TimeLimit(limit), pytest.MonkeyPatch()
        config.pluginmanager.register(plugin, "time-limit")
        patch.setattr(builtins, "__import__", plugin.load)
        config.add_cleanup(patch.undo)
