"""Every `python -m X`: whatever its surroundings are, one line on standard error and status 2."""

import ast
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from registry.command_line import line_of, run

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("registry", "pipelines", "monitoring", "serving", "demo", "bench")
BOUNDARIES = ("run", "exit_with")
SPEAKS_TO_ITS_PARENT = ("registry.flavors.conversion",)
"""Serves conversions to the process that started it: an error is an answer there."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


def guard_of(path: Path) -> ast.If | None:
    """The `if __name__ == "__main__"` of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            return node
    return None


PATHS = [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]
PATHS = [p for p in PATHS if p.parent != ROOT / "bench" / "automl" / "peers"]  # of other Pythons
COMMANDS = {module_name(p): guard for p in PATHS if (guard := guard_of(p)) is not None}
READS_SETTINGS = (
    *("registry", "registry.database", "registry.tracking_server", "serving", "serving.keys"),
    *("pipelines.jobs.worker", "pipelines.main", "pipelines.train", "pipelines.tune"),
    *("pipelines.validate", "pipelines.convert", "pipelines.replay", "pipelines.synthesize"),
    *("monitoring.drift", "monitoring.retraining", "monitoring.refits", "monitoring.schedule"),
    *("monitoring.score", "demo.closed_loop", "pipelines.data.store"),
)
ARGUMENTS = {
    "registry": ["list"],
    "pipelines.data.store": ["list"],
    "serving.keys": ["list"],
    "pipelines.validate": ["--train_run", "0" * 32],
    "pipelines.convert": ["--validate_run", "0" * 32],
    "pipelines.replay": ["--run_id", "0" * 32],
    "monitoring.drift": ["--model_name", "m"],
    "monitoring.refits": ["--model_name", "m"],
    "monitoring.score": ["--model_name", "m", "--output", "o.parquet"],
}


def test_every_module_that_runs_is_known():
    assert {p.parent.name for p in PATHS if p.name == "__main__.py"} <= {
        name.rpartition(".")[2] for name in COMMANDS
    }
    assert set(READS_SETTINGS) <= COMMANDS.keys()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(SPEAKS_TO_ITS_PARENT)))
def test_every_command_ends_at_the_one_boundary(name):
    last = COMMANDS[name].body[-1]
    assert isinstance(last, ast.Expr)
    assert isinstance(last.value, ast.Call)
    assert ast.unparse(last.value.func) in BOUNDARIES


@pytest.fixture
def ended(monkeypatch, capsys, tmp_path):
    """Run a module as `python -m` does; return its one line."""

    def work(name: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, [])])
        target = f"{name}.__main__" if name in ("registry", "serving") else name
        with warnings.catch_warnings(), pytest.raises(SystemExit) as caught:
            warnings.simplefilter("ignore", RuntimeWarning)  # the module is imported already
            runpy.run_module(target, run_name="__main__")
        said = capsys.readouterr().err.splitlines()
        assert caught.value.code == 2
        assert len(said) == 1, said
        assert "Traceback" not in said[0]
        return said[0]

    yield work
    structlog.reset_defaults()  # the server's log goes to a stream that ends with the test


@pytest.fixture
def impossible(tmp_path, monkeypatch):
    """Set DATA_DIR below a file, where not even root can write."""
    (tmp_path / "file").write_text("no folder")
    for name in ("DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "var"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("ML_ENGINE_PORT", "0")
    return tmp_path / "file" / "var"


@pytest.mark.integration
@pytest.mark.parametrize("name", READS_SETTINGS)
def test_an_impossible_data_dir_is_one_line(name, ended, impossible):
    line = ended(name)
    assert str(impossible.parent) in line or "MLflow at http://127.0.0.1:9 does not answer" in line


@pytest.mark.integration
@pytest.mark.parametrize("name", ["registry", "serving", "serving.keys", "pipelines.jobs.worker"])
@pytest.mark.parametrize("what", ["text", "another program"])
def test_a_foreign_data_dir_is_one_line(name, what, ended, monkeypatch, impossible, tmp_path):
    (tmp_path / "var").mkdir()
    path = tmp_path / "var" / "engine.db"
    if what == "text":
        path.write_text("this is no database\n" * 100)
    else:
        other = sa.create_engine(f"sqlite:///{path}")
        with other.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE songs (name TEXT)")
        other.dispose()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "var"))
    line = ended(name)
    assert str(path) in line
    assert "correct DATA_DIR or DATABASE_URL" in line


class LibraryError(ValueError):
    """An exception of a library."""

    __module__ = "polars.exceptions"


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), "Permission denied: /data/x"),
        (OSError(28, "No space left on device", "/d/x"), "the disk is full: /d/x; make room"),
        (OSError(30, "Read-only file system"), "Read-only file system"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), f": {Path.cwd()}/x.csv"),
        (MemoryError(), "not enough memory"),
        (LibraryError("duplicate\n\ncolumn"), "duplicate column (LibraryError at tests/"),
        (sa.exc.DatabaseError("SELECT", {}, Exception("is malformed")), "is malformed"),
    ],
)
def test_what_a_library_or_the_system_raised_is_one_line(raised, line, capsys):
    def work():
        raise raised

    with pytest.raises(SystemExit) as caught:
        run(work)
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert line in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("bug", [ZeroDivisionError(), KeyError("x"), AssertionError()])
def test_a_bug_of_ours_keeps_its_traceback(bug):
    assert line_of(bug) is None

    def work():
        raise bug

    with pytest.raises(type(bug)):
        run(work)


def test_an_interrupted_command_says_so(capsys):
    def work():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run(work)
    assert (caught.value.code, capsys.readouterr().err) == (130, "stopped\n")


def test_a_number_is_the_exit_status():
    run(lambda: 0)
    with pytest.raises(SystemExit) as caught:
        run(lambda: 3)
    assert caught.value.code == 3


@pytest.mark.integration
def test_a_process_of_its_own_ends_so_too(impossible):
    command = [sys.executable, "-m", "registry", "list"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
