"""ProjectRun: one MLproject entry point running in a process group of its own.

`mlflow.projects.run` blocks and costs seconds of imports in a new interpreter, so a fork server
that has MLflow loaded forks one child per run. The child leads a new session: killing its group
ends the shell and the stage below it too. It watches its parent, so that a worker that is killed
(kill -9) leaves no stage behind that nobody would report on.
"""

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipelines.jobs.dead_runs import end_runs
from pipelines.jobs.process_tree import end_tree, kill_own_tree
from registry.command_line import line_of
from registry.database import opened_engine
from registry.errors import RegistryUnavailableError
from registry.settings import PlatformSettings
from registry.tracking_server import check_reachable
from registry.versions import Registry

GRACE_SECONDS = 3.0
"""Less than the five seconds that honcho gives the worker, which must still release its job."""
ERROR_LINES = 5
UNSAID = "it ended without saying why, as a process does that is killed or gets no memory"
OF_MLFLOW = re.compile(r"[\U0001f300-\U0001faff]|\d{4}/\d\d/\d\d .* INFO mlflow")
"""Links to runs, which begin with a picture, and what MLflow says about itself."""
ANSWER_SECONDS = 60.0
"""Patience with a question to MLflow, which is imported before the first one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What to run: an entry point of the MLproject at `uri`, its output going to `log_path`.

    `environment` is the run's whole environment, MLFLOW_TRACKING_URI included; PATH gets this
    interpreter's folder in front.
    """

    uri: str
    entry_point: str
    parameters: Mapping[str, Any]
    experiment: str
    environment: Mapping[str, str]
    log_path: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run; `run_id` is None when MLflow never gave it one."""

    succeeded: bool
    run_id: str | None
    error: str = ""


class Launcher:
    """Starts runs from a fork server that has MLflow loaded; one per worker, safe for threads."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["mlflow.projects", "mlflow.projects.backend.local"])

    def start(self, entry: Entry) -> "ProjectRun":
        """Start an entry point and return at once.

        Raises:
            EOFError, OSError: the fork server was killed meanwhile, or the log cannot be written.
        """
        entry.log_path.parent.mkdir(parents=True, exist_ok=True)
        n_before = entry.log_path.stat().st_size if entry.log_path.exists() else 0
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(entry, sender), daemon=False)
        with self._one_at_a_time:  # the fork server talks to one caller
            process.start()
        sender.close()
        return ProjectRun(entry, process, receiver, n_before)

    def pair_problem(self, platform: PlatformSettings) -> str:
        """Return why no job can run with this MLflow and engine database; empty where one can.

        Asked by a child of the fork server, which has MLflow loaded.

        Raises:
            EOFError, OSError: the fork server was killed meanwhile.
        """
        return self._asked(_pair_problem, platform)

    def end_runs(self, tracking_uri: str, run_ids: Iterable[str]) -> str:
        """End what a killed process left open in MLflow; return why not, empty where it is done.

        Raises:
            EOFError, OSError: the fork server was killed meanwhile.
        """
        wanted = sorted(run_ids)
        return self._asked(_end_runs, tracking_uri, wanted) if wanted else ""

    def _asked(self, question: Callable[..., str], *arguments: Any) -> str:
        """Return what a child of the fork server answers."""
        receiver, sender = self._context.Pipe(duplex=False)
        given = (sender, question, arguments)
        process = self._context.Process(target=_answer, args=given, daemon=True)
        with self._one_at_a_time:
            process.start()
        sender.close()
        try:
            is_answered = receiver.poll(ANSWER_SECONDS)
            return str(receiver.recv()) if is_answered else f"no answer in {ANSWER_SECONDS:g} s"
        finally:
            process.kill()
            process.join(GRACE_SECONDS)


class ProjectRun:
    """A started run; poll it with `wait`, end it with `kill`.

    Args:
        n_before: bytes that earlier attempts had written to the log.
    """

    def __init__(self, entry: Entry, process: Any, receiver: Connection, n_before: int) -> None:
        self.entry = entry
        self._n_before = n_before
        self.pid = int(process.pid)
        self._process = process
        self._receiver = receiver

    def wait(self, timeout_seconds: float) -> Outcome | None:
        """Return the outcome of the run, or None if it still runs after `timeout_seconds`."""
        if not self._receiver.poll(timeout_seconds):
            return None
        try:
            succeeded, run_id = self._receiver.recv()
        except EOFError:  # the child died without a word
            succeeded, run_id = False, None
        self._process.join(GRACE_SECONDS)
        error = "" if succeeded else last_error(self.entry.log_path, self._n_before)
        return Outcome(succeeded, run_id, error)

    def kill(self) -> None:
        """End the run and everything it started: asked first, killed after three seconds.

        Asked, MLflow still marks the run as failed. Returns when no process of it is left.
        """
        end_tree(self.pid, GRACE_SECONDS)
        self._process.join(1.0)


def last_error(log_path: Path, n_before: int = 0) -> str:
    """Return the line of a run's output with the reason for its failure, and the log's path.

    Args:
        n_before: bytes at the beginning of the log that are not the run's.
    """
    text = log_path.read_bytes()[n_before:].decode(errors="replace") if log_path.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    stage_errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    last = [line for line in lines if not OF_MLFLOW.match(line)][-ERROR_LINES:]
    if not stage_errors and not any(line.startswith("Traceback") for line in lines):
        last = [UNSAID, *(f"last: {line}" for line in last[-1:])]
    return f"{' | '.join(stage_errors[-1:] or last)} (output: {log_path})"


def _answer(sender: Connection, question: Callable[..., str], arguments: Sequence[Any]) -> None:
    try:
        sender.send(question(*arguments))
    except Exception as exc:  # the worker says it in its log, and asks again
        sender.send(line_of(exc) or repr(exc))


def _pair_problem(platform: PlatformSettings) -> str:
    with opened_engine(platform) as engine:
        Registry(platform, engine).check_pair()
    return ""


def _end_runs(tracking_uri: str, run_ids: Sequence[str]) -> str:
    check_reachable(tracking_uri)
    end_runs(tracking_uri, run_ids)
    return ""


def _child(entry: Entry, sender: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # MLflow ends runs on interrupt only
    threading.Thread(target=_follow_parent, daemon=True).start()
    with entry.log_path.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(entry.environment)
    os.environ.pop("MLFLOW_RUN_ID", None)  # else this run would write into another one
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    sender.send(_run(entry))


def _run(entry: Entry) -> tuple[bool, str | None]:
    import mlflow

    try:
        check_reachable(entry.environment["MLFLOW_TRACKING_URI"])
        mlflow.set_experiment(entry.experiment)  # made once, also where two runs need it together
        submitted = mlflow.projects.run(  # type: ignore[no-untyped-call]
            uri=entry.uri,
            entry_point=entry.entry_point,
            parameters={k: str(v) for k, v in entry.parameters.items()},
            experiment_name=entry.experiment,
            run_name=entry.entry_point,
            env_manager="local",
        )
    except RegistryUnavailableError as exc:
        print(f"error: {exc}", file=sys.stderr, flush=True)
        return False, None
    except mlflow.exceptions.MlflowException as exc:  # the stage failed, or there is none such
        known = re.search(r"Run \(ID '(\w+)'\)", str(exc))
        if known is None:
            print(f"error: {' '.join(str(exc).split())}", file=sys.stderr, flush=True)
        return False, known and known.group(1)
    return True, submitted.run_id


def _follow_parent() -> None:
    worker = multiprocessing.parent_process()
    assert worker is not None
    worker.join()
    kill_own_tree()
