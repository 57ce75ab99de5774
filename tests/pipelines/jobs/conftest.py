"""A tiny MLproject whose entry points leave their marks in the folder $OUT."""

import time
from pathlib import Path

import pytest

from registry.settings import PlatformSettings

ROOT = Path(__file__).parents[3]
MLPROJECT = """
name: tiny
entry_points:
  main:
    parameters: {text: {type: str, default: none}}
    command: "echo {text} > $OUT/main.txt"
  failing:
    command: "echo 'error: the bars are gone' >&2; exit 2"
  sleeping:
    command: "echo $$ > $OUT/pid; sleep 60"
  drift:
    command: "echo $$ > $OUT/drift_pid; sleep 60"
  nested:
    command: "setsid sleep 60 & (sleep 60; true) & echo $$ > $OUT/pid; wait"
  telling:
    command: "python tell.py"
  schedule:
    command: "SCHEDULE"
"""
TELL = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pipelines import progress
with progress.shown(), progress.part("train"):
    print("connects to postgresql://ada:pw@db/x", flush=True)
    for fold in progress.steps(range(4), "fold"):
        if fold == 1:
            open(os.environ["OUT"] + "/pid", "w").write(str(os.getpid()))
            while not os.path.exists(os.environ["OUT"] + "/go on"):
                time.sleep(0.05)
                progress.report(1, 2, "epoch 1 of 2")
"""


@pytest.fixture
def make_project(tmp_path, monkeypatch):
    """Factory: the folder of the MLproject, with a command of entry point `schedule`."""
    monkeypatch.setenv("OUT", str(tmp_path))

    def make(schedule: str = "true"):
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT.replace("SCHEDULE", schedule))
        (folder / "tell.py").write_text(TELL)
        return folder

    return make


@pytest.fixture
def project(make_project):
    """The folder of the MLproject."""
    return make_project()


@pytest.fixture
def platform(settings, tracking_uri) -> PlatformSettings:
    """Settings whose MLflow is this test's own."""
    return settings.model_copy(update={"mlflow_tracking_uri": tracking_uri})


@pytest.fixture
def wait_for():
    """Wait until a condition holds; return what it gave."""

    def wait(condition, seconds: float = 60.0):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def stage_pid(tmp_path, wait_for):
    """Wait until a stage has written its process id to $OUT/pid; return it."""

    def ask() -> int:
        path = tmp_path / "pid"
        return int(wait_for(lambda: path.exists() and path.read_text().strip()))

    return ask
