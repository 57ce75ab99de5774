import pytest

from pipelines.jobs.project_run import UNSAID, last_error

OF_MLFLOW = """\
2026/12/01 02:43:32 INFO mlflow.projects.utils: === Created directory /tmp/x ===
\N{RUNNER} View run trial 0 at: http://127.0.0.1:5000/#/experiments/2/runs/5
\N{TEST TUBE} View experiment at: http://127.0.0.1:5000/#/experiments/2
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ZeroDivisionError: division by zero
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("error: first\nfold 1\nerror: no bars\n" + OF_MLFLOW, "no bars"),
        ("fold 1\ntrial 1: pruned\n" + OF_MLFLOW, f"{UNSAID} | last: trial 1: pruned"),
        (OF_MLFLOW, UNSAID),
        ("", UNSAID),
    ],
)
def test_the_reason_of_a_failure_is_its_own_line_or_that_there_is_none(tmp_path, output, expected):
    log = tmp_path / "job.log"
    log.write_text(output)
    assert last_error(log) == f"{expected} (output: {log})"


def test_a_bug_shows_the_end_of_its_traceback(tmp_path):
    log = tmp_path / "job.log"
    log.write_text(TRACEBACK + OF_MLFLOW)
    assert " | ZeroDivisionError: division by zero (output: " in last_error(log)


def test_what_an_earlier_attempt_said_is_not_the_reason(tmp_path):
    log = tmp_path / "job.log"
    before = "error: the bars are gone\n"
    log.write_text(before + "fold 1\n")
    assert last_error(log, len(before)).startswith(f"{UNSAID} | last: fold 1")


def test_a_run_without_a_log_has_said_nothing(tmp_path):
    assert last_error(tmp_path / "none.log").startswith(UNSAID)
