import io
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import progress
from pipelines.progress import Reported
from pipelines.stage import exit_with

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """Everything that a listener is shown, without pauses."""
    found: list[tuple[float, str]] = []
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress"))
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.0)
    keep = lambda _, reported: found.append((round(reported.fraction, 6), reported.stage))  # noqa: E731
    monkeypatch.setattr(progress._File, "show", keep)
    return found


def test_parts_and_steps_become_one_fraction(heard):
    with progress.shown(), progress.part("train"):
        with progress.part("", 0.0, 0.5):
            for _ in progress.steps("ab", "fold"):
                progress.report(1, 2, "epoch 1 of 2")
        with progress.part("final fit", 0.5, 1.0):
            progress.report(1, 4, "epoch 1 of 4")
    assert heard == [
        (0.0, "train"),
        (0.0, "train"),
        (0.0, "train: fold 1 of 2"),
        (0.125, "train: fold 1 of 2: epoch 1 of 2"),
        (0.25, "train: fold 2 of 2"),
        (0.375, "train: fold 2 of 2: epoch 1 of 2"),
        (0.5, "train"),
        (0.5, "train: final fit"),
        (0.625, "train: final fit: epoch 1 of 4"),
        (1.0, "train: final fit"),
        (1.0, "train"),
        (1.0, "train"),
    ]


def test_it_never_goes_backwards_and_stays_between_0_and_1(heard):
    with progress.shown():
        for done, total in [(1, 2), (1, 4), (-1, 4), (9, 3), (1, 0)]:
            progress.report(done, total, "x")
    assert [fraction for fraction, _ in heard] == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]


def test_an_error_leaves_no_part_behind(heard):
    errors = []

    def fail() -> None:
        with progress.part("train"):
            for _ in progress.steps("ab", "fold"):
                raise ValueError

    with progress.shown():
        try:
            fail()
        except ValueError as exc:
            errors.append(exc)  # keeps the loop's generator alive
        progress.report(1, 2, "next")
        errors.clear()
        progress.report(1, 2, "after it was collected")
    assert [stage for _, stage in heard][-3:-1] == ["next", "after it was collected"]


def test_a_loop_that_is_left_early_leaves_its_part(heard):
    with progress.shown(), progress.part("main"):
        for item in progress.steps("ab", "fold"):
            assert item == "a"
            break
        progress.report(3, 4, "next")
    assert (0.75, "main: next") in heard


def test_without_a_listener_nothing_is_written_and_items_are_the_same(tmp_path, monkeypatch):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.shown(), progress.part("train"):
        assert list(progress.steps([1, 2], "fold")) == [1, 2]
        progress.report(1, 2, "x")
    assert sys.stderr.getvalue() == "" and list(tmp_path.iterdir()) == []


def test_the_file_names_the_run_and_holds_the_newest_report(tmp_path, monkeypatch):
    path = tmp_path / "job.progress"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    monkeypatch.setenv("MLFLOW_RUN_ID", "a" * 32)
    assert progress.read(path) is None
    with progress.shown():
        progress.report(1, 4, "one")
        monkeypatch.delenv("MLFLOW_RUN_ID")  # as MLflow does
        for n in range(2, 4):
            progress.report(n, 4, f"fold {n}")  # within the pause: shown at the end
    assert progress.read(path) == Reported(0.75, "fold 3", "a" * 32)
    assert [file.name for file in tmp_path.iterdir()] == ["job.progress"]


def test_facts_are_told_beside_and_stay_until_others_replace_them(tmp_path, monkeypatch):
    path = tmp_path / "job.progress"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    with progress.shown():
        progress.tell({"n_ended": 1})
        progress.report(1, 4, "one")
        progress.tell({"n_ended": 2, "best": {"score": 0.5}})
    found = progress.read(path)
    assert (found.fraction, found.stage) == (0.25, "one")
    assert found.facts == {"n_ended": 2, "best": {"score": 0.5}}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"fraction": "x", "stage": "", "run_id": null}', "\x00\xff"]
)
def test_a_file_that_cannot_be_read_says_nothing(tmp_path, text):
    path = tmp_path / "p"
    path.write_text(text)
    assert progress.read(path) is None


def test_a_full_disk_does_not_end_the_stage(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "no folder" / "p"))
    with progress.shown():
        progress.report(1, 2, "x")


def test_on_a_terminal_a_bar_is_drawn_and_lines_stand_above_it(monkeypatch):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    bar, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", bar)
    monkeypatch.setattr(sys, "stdout", out)

    def work() -> None:
        with progress.part("train"):
            progress.report(1, 2, "fold 1 of 2")
            print("3 rows")

    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.0)
    exit_with(work)
    drawn = bar.getvalue()
    assert "50%|" in drawn and "train: fold 1 of 2" in drawn and out.getvalue() == "3 rows\n"
    assert drawn.rstrip(" ").endswith("\r")  # nothing of it is left
    assert sys.stdout is out


@pytest.mark.integration
def test_a_stage_without_a_terminal_prints_what_it_printed_before():
    code = (
        "from pipelines import progress\nfrom pipelines.stage import exit_with\n"
        "def work():\n  for n in progress.steps([1, 2], 'fold'): print(n)\nexit_with(work)\n"
        "import sys; assert 'tqdm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n2\n", "")
