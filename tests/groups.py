"""A pytest plugin: which tests run in one process of `pytest -n 2 --dist loadgroup`.

Tests of one file run in one process, so that what they share (imports, fixtures of a module, fits)
is made once. `pytest.mark.xdist_group(name)` puts tests of several files together, or splits a
file. Groups that hold tests marked `slow` or `integration` start first: a long one that starts last
would leave the other process without work.

Only the processes that run tests know the marks; they write them to a file that the scheduler
reads. (pytest-xdist 3.8 appends them to the tests' ids, which pytest 9 does not let it do.)
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONG = ("slow", "integration")


class GroupScheduling(LoadScopeScheduling):
    """Gives whole groups to processes, in the order of the collected tests."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self.groups: dict[str, str] = {}

    def schedule(self) -> None:
        """Give out the groups, once every process has collected the tests."""
        if not self.groups:
            self.groups = json.loads(_groups_file().read_text())
            _groups_file().unlink()
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self.groups[nodeid]


def _groups_file() -> Path:
    """Where the groups are written, as the scheduling process knows it."""
    return Path(tempfile.gettempdir()) / f"pytest-groups-{os.getpid()}.json"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Schedule groups where `--dist loadgroup` asks for it."""
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process where to write the groups."""
    node.workerinput["groups_file"] = str(_groups_file())


def group_of(item: pytest.Item) -> str:
    """Name of the group of a test: the marked one, else its file."""
    mark = item.get_closest_marker("xdist_group")
    return item.nodeid.partition("::")[0] if mark is None else mark.args[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long groups first and leave the order as it is otherwise."""
    long = {group_of(i) for i in items if any(i.get_closest_marker(mark) for mark in LONG)}
    items.sort(key=lambda item: group_of(item) not in long)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the groups, all processes the same, before the scheduler hears of the tests."""
    if found := getattr(session.config, "workerinput", {}).get("groups_file"):
        written = Path(f"{found}.{os.getpid()}")
        written.write_text(json.dumps({item.nodeid: group_of(item) for item in session.items}))
        written.rename(found)
