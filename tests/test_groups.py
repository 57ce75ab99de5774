"""Tests that share something run in one process, and long groups start first."""

import re

import pytest

OPTIONS = ("-p", "xdist.plugin", "-p", "tests.groups", "-v", "-n", "2", "--dist", "loadgroup")
FILES = {
    "test_a": "import pytest\n@pytest.mark.parametrize('i', range(4))\ndef test_one(i): pass",
    "test_b": "import pytest\n@pytest.mark.xdist_group('both')\ndef test_two(): pass",
    "test_c": "import pytest\n@pytest.mark.xdist_group('both')\ndef test_three(): pass",
}
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


def test_a_file_and_a_marked_group_stay_in_one_process(pytester):
    pytester.makepyfile(**FILES)
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(passed=6)
    found = workers(result)
    assert len(found["test_a"]) == 1
    assert found["test_b"] == found["test_c"]
    assert len(found["test_b"]) == 1


@pytest.mark.parametrize("mark", ["slow", "integration"])
def test_groups_with_long_tests_come_first(pytester, mark):
    pytester.makepyfile(test_a="def test_quick(): pass", test_z=MARKED.replace("slow", mark))
    result = pytester.runpytest("-p", "tests.groups", "--collect-only", "-q")
    assert result.outlines[:2] == ["test_z.py::test_long", "test_a.py::test_quick"]
