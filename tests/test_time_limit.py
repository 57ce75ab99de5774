"""A test that takes too long without the mark `slow` fails, and says why."""

import pytest

pytestmark = pytest.mark.integration

LIMIT = ("-p", "tests.time_limit", "-o", "seconds_without_slow=0.1")
WORK = """
import time
import pytest

def work(seconds=0.2):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Without the plugins of other distributions, which take longer to load than to test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def outcomes(pytester, test, *options):
    pytester.makepyfile(WORK + test)
    return pytester.runpytest(*LIMIT, *options)


def test_a_test_that_works_too_long_fails_and_names_the_limit(pytester):
    result = outcomes(pytester, "def test_long(): work()")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_long took 0.? s of the processors*may take 0.1 s*"])


def test_quick_and_slow_tests_pass(pytester):
    slow = "@pytest.mark.slow\ndef test_slow(): work()\ndef test_quick(): work(0.01)"
    outcomes(pytester, slow).assert_outcomes(passed=2)


def test_a_test_that_only_waits_has_more_time_by_the_clock(pytester):
    waiting = "def test_waits(): time.sleep(0.2)\ndef test_waits_long(): time.sleep(0.6)"
    result = outcomes(pytester, waiting)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_waits_long took*"])


def test_work_of_a_child_process_counts(pytester):
    child = """
import subprocess, sys
def test_starts_a_program():
    code = "import time\\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
    outcomes(pytester, child).assert_outcomes(failed=1)


def test_a_fixture_of_the_test_counts(pytester):
    own = "@pytest.fixture\ndef own(): work()\ndef test_long(own): pass"
    outcomes(pytester, own).assert_outcomes(failed=1)


@pytest.mark.parametrize("scope", ["module", "session"])
def test_shared_fixtures_do_not_count_even_where_one_asks_for_another(pytester, scope):
    shared = f"""
@pytest.fixture(scope="{scope}")
def first(): work()

@pytest.fixture(scope="{scope}")
def second(request):
    request.getfixturevalue("first")
    work()

def test_quick(second): work(0.01)
def test_long(second): work()
"""
    result = outcomes(pytester, shared)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_long took 0.? s of*"])


def test_the_first_import_of_a_module_does_not_count(pytester):
    pytester.makepyfile(heavy=WORK + "work()\n")
    outcomes(pytester, "def test_first(): import heavy").assert_outcomes(passed=1)


def test_a_failure_stays_the_failure_that_it_is(pytester):
    result = outcomes(pytester, "def test_wrong():\n    work()\n    assert 1 == 2")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*of the processors*")


def test_zero_switches_the_limit_off(pytester):
    result = outcomes(pytester, "def test_long(): work()", "-o", "seconds_without_slow=0")
    result.assert_outcomes(passed=1)
