"""A pytest plugin: which tests run in one process of `pytest -n 2 --dist loadgroup`.

Tests of one file run in one process, so that what they share (imports, fixtures of a module, fits)
is made once. `pytest.mark.xdist_group(name)` puts tests of several files together, or splits a
file. Groups that hold tests marked `slow` or `integration` start first: a long one that starts last
would leave the other process without work.
"""

import pytest
from xdist.scheduler import LoadGroupScheduling

LONG = ("slow", "integration")


class GroupScheduling(LoadGroupScheduling):
    """Gives whole groups to processes, in the order of the collected tests."""

    def _split_scope(self, nodeid: str) -> str:
        """Name of the group: the marked one, else the file."""
        group = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if group == nodeid else group


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> GroupScheduling | None:
    """Schedule groups where `--dist loadgroup` asks for it."""
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def group_of(item: pytest.Item) -> str:
    """Name of the group of a test."""
    mark = item.get_closest_marker("xdist_group")
    return str(item.path) if mark is None else mark.args[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long groups first and leave the order as it is otherwise."""
    long = {group_of(i) for i in items if any(i.get_closest_marker(mark) for mark in LONG)}
    items.sort(key=lambda item: group_of(item) not in long)
