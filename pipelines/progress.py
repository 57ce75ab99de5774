"""Progress: how far a stage has come, as one fraction and a line of words.

A stage divides itself: `part` names a share of it, `steps` makes a share of each item of a loop.
What runs inside reports on its own share and knows nothing of the rest, so an epoch of the third of
seven folds becomes one fraction of the whole run, "train: fold 3 of 7: epoch 12 of 100". The
fraction never goes backwards.

`shown` says who listens: the worker that runs the stage as a job, or a bar on the terminal. Without
it, and in threads and processes that a stage starts, a report costs one look at a variable.
"""

import io
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import IO, Any, Protocol, TypeVar

VARIABLE = "PROGRESS_FILE"
"""Environment variable in which the worker names the file that it reads."""
PAUSE_SECONDS = 0.2
"""Shortest time between two writes of a file, or two drawings of the bar."""
MAX_STAGE_CHARS = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reported:
    """How far a run has come: `fraction` of the whole, 0 to 1, and what it does now.

    `run_id` is its MLflow run, where the worker's file names it; `facts` what it told (`tell`).
    """

    fraction: float
    stage: str
    run_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Listener(Protocol):
    """What takes reports; at most one every `PAUSE_SECONDS`, and facts and the last one at once."""

    def show(self, reported: Reported) -> None: ...


class _Audience:
    """The listener of this process: it hears less often than reports are made, and only forward."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._newest = Reported(0.0, "")
        self._next = 0.0

    def hear(self, fraction: float, stage: str) -> None:
        furthest = max(fraction, self._newest.fraction)
        self._newest = replace(self._newest, fraction=furthest, stage=stage[:MAX_STAGE_CHARS])
        self._show_in_time()

    def told(self, facts: Mapping[str, Any]) -> None:
        self._newest = replace(self._newest, facts=facts)
        self.show()  # the next report may be minutes away

    def _show_in_time(self) -> None:
        if monotonic() >= self._next:
            self.show()

    def show(self) -> None:
        self._next = monotonic() + PAUSE_SECONDS
        self._listener.show(self._newest)


@dataclass(frozen=True, slots=True)
class _Part:
    """The share of the whole that the running code stands for."""

    audience: _Audience
    name: str = ""
    start: float = 0.0
    width: float = 1.0

    def named(self, name: str) -> str:
        return f"{self.name}: {name}" if self.name and name else self.name or name

    def at(self, share: float) -> float:
        return self.start + self.width * min(1.0, max(0.0, share))

    def share(self, name: str, start: float, end: float) -> "_Part":
        first, last = self.at(start), self.at(end)
        return _Part(self.audience, self.named(name), first, max(0.0, last - first))

    def hear(self, share: float, name: str = "") -> None:
        self.audience.hear(self.at(share), self.named(name))


_present: ContextVar[_Part | None] = ContextVar("_present", default=None)


def report(done: float, total: float, what: str) -> None:
    """Say that `done` of `total` of the present part are done, and what it does in words."""
    present = _present.get()
    if present is not None:
        present.hear(done / total if total > 0 else 0.0, what)


def tell(facts: Mapping[str, Any]) -> None:
    """Tell facts of a run beside how far it is, as JSON; they replace those that it told before."""
    present = _present.get()
    if present is not None:
        present.audience.told(facts)


@contextmanager
def part(name: str, start: float = 0.0, end: float = 1.0) -> Iterator[None]:
    """Run a block as the share from `start` to `end` (0 to 1) of the present part."""
    outer = _present.get()
    if outer is None:
        yield
        return
    inner = outer.share(name, start, end)
    _present.set(inner)
    inner.hear(0.0)
    try:
        yield
        inner.hear(1.0)
    finally:
        _present.set(outer)


def steps(items: Collection[T], noun: str) -> Iterator[T]:
    """Yield the items, each as an equal share of the present part: "fold 3 of 7"."""
    outer, n_items = _present.get(), len(items)
    if outer is None:
        yield from items
        return
    inner = outer
    try:
        for i, item in enumerate(items):
            inner = outer.share(f"{noun} {i + 1} of {n_items}", i / n_items, (i + 1) / n_items)
            _present.set(inner)
            inner.hear(0.0)
            yield item
    finally:
        if _present.get() is inner:  # else an enclosing part was left by an error, long ago
            _present.set(outer)


@contextmanager
def shown() -> Iterator[None]:
    """Show the reports of a block: to the worker that named a file, else on a terminal."""
    path = os.environ.get(VARIABLE)
    if path:
        with _heard_by(_File(Path(path))):
            yield
    elif sys.stderr.isatty():
        with _Bar() as bar, redirect_stdout(bar.above(sys.stdout)), _heard_by(bar):
            yield
    else:
        yield


@contextmanager
def _heard_by(listener: Listener) -> Iterator[None]:
    audience, outer = _Audience(listener), _present.get()
    _present.set(_Part(audience))
    try:
        yield
    finally:
        _present.set(outer)
        audience.show()


def read(path: Path) -> Reported | None:
    """Return what a run last wrote to its file; None before its first report."""
    try:
        found = json.loads(path.read_bytes())
        fraction = min(1.0, max(0.0, float(found["fraction"])))
        stage = str(found["stage"])[:MAX_STAGE_CHARS]
        return Reported(fraction, stage, found["run_id"], dict(found["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _File:
    """Writes reports to a file that is whole at any time."""

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, path.with_suffix(".next")
        self._run_id = os.environ.get("MLFLOW_RUN_ID")  # MLflow removes it when the run begins

    def show(self, reported: Reported) -> None:
        with suppress(OSError):  # a full disk must not end a training for the sake of its bar
            facts = replace(reported, run_id=self._run_id)
            text = json.dumps(asdict(facts))
            self._next.write_text(text)
            self._next.replace(self._path)


class _Bar:
    """Draws reports on standard error; gone at the end."""

    def __init__(self) -> None:
        from tqdm import tqdm

        form = "{percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {desc}"
        self._bar = tqdm(total=1.0, bar_format=form, file=sys.stderr, leave=False)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, reported: Reported) -> None:
        self._bar.n = reported.fraction
        self._bar.set_description_str(reported.stage)

    def above(self, stream: IO[str]) -> "_Above":
        """Return a stream whose lines stand above the bar."""
        return _Above(stream, self._bar)


class _Above(io.TextIOBase):
    """Standard output beside a bar: the bar makes room for each line."""

    def __init__(self, stream: IO[str], bar: Any) -> None:
        self._stream, self._bar = stream, bar

    def write(self, text: str) -> int:
        self._bar.clear()
        written = self._stream.write(text)
        self._stream.flush()
        if text.endswith("\n"):
            self._bar.refresh()
        return written

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
