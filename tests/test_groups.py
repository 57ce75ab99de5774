"""Tests that share something run in one process, and long groups start first."""

import re

import pytest

OPTIONS = ("-p", "xdist.plugin", "-p", "tests.groups", "-v", "-n", "2", "--dist", "loadgroup")
TESTS = "import pytest\n@pytest.mark.parametrize('i', range(9))\ndef test_some(i): pass\n"
GROUPED = TESTS.replace("range(9)", "[pytest.param(0, marks=pytest.mark.xdist_group('both'))]")
FILES = {"test_a": GROUPED, "test_b": TESTS, "test_c": TESTS, "test_d": TESTS, "test_e": GROUPED}
MARKED = "import pytest\n@pytest.mark.slow\ndef test_long(): pass"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Without the plugins of other distributions, which take longer to load than to test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def workers(result):
    """File -> processes that ran its tests."""
    found = {}
    for line in result.outlines:
        if match := re.match(r"\[(gw\d)\].* (test_\w)\.py::", line):
            found.setdefault(match[2], set()).add(match[1])
    return found


@pytest.mark.integration
def test_a_file_and_a_marked_group_stay_in_one_process(pytester):
    pytester.makepyfile(**FILES)
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(passed=29)
    found = workers(result)
    assert {len(processes) for processes in found.values()} == {1}
    assert found["test_a"] == found["test_e"]
    assert len({*map(tuple, found.values())}) == 2


@pytest.mark.parametrize("mark", ["slow", "integration"])
def test_groups_with_long_tests_come_first(pytester, mark):
    pytester.makepyfile(test_a="def test_quick(): pass", test_z=MARKED.replace("slow", mark))
    result = pytester.runpytest("-p", "tests.groups", "--collect-only", "-q")
    assert result.outlines[:2] == ["test_z.py::test_long", "test_a.py::test_quick"]
