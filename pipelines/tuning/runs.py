"""Runs of trials: each ended trial as a nested MLflow run, written beside the search.

A call to the tracking server takes longer than many fits. So threads write what has ended while the
next trial is fitted: three calls per trial, through a server the runs of several trials at once.
Nothing is lost with it: what a run says is in the journal, and whoever decides writes the runs that
a killed worker left out.
"""

import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from pipelines.tuning.studies import place_of, point_of, result_of
from registry.mlflow_failures import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT, RUN_NAME, NUMBER = "mlflow.parentRunId", "mlflow.runName", "trial"
MEASURED = (
    *("score", "loss", "gain", "z", "latency_ms", "artifact_kb"),
    *("seconds", "fit_seconds", "judge_seconds", "measure_seconds"),
)
PER_PAGE = 1000
HURRY_SECONDS = 2.0
AT_ONCE = 4
"""Runs that are written at once through a server: most of a call is waiting for it."""
LINKS = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
STATES = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
}


@dataclass(frozen=True, slots=True)
class Parent:
    """The run of a study, below which those of its trials lie."""

    uri: str
    run_id: str
    experiment_id: str
    study: str

    def client(self) -> "MlflowClient":
        """Return a client of the MLflow that has it."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)


@contextmanager
def without_links() -> Iterator[None]:
    """Let runs end without a line each, for which MLflow would ask the server once more."""
    before = os.environ.get(LINKS)
    os.environ[LINKS] = "true"
    try:
        yield
    finally:
        os.environ.pop(LINKS)
        os.environ |= {} if before is None else {LINKS: before}


class RunWriter:
    """Writes runs from threads of its own, begun in the order in which trials ended."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._waiting: SimpleQueue[FrozenTrial | None] = SimpleQueue()
        self._error: Exception | None = None
        self._is_stopping = False
        n_threads = AT_ONCE if parent.uri.startswith("http") else 1
        self._threads = [
            threading.Thread(target=self._work, name="runs of trials", daemon=True)
            for _ in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        self._is_stopping = True
        self._end(HURRY_SECONDS)  # for what is being written; the rest comes later

    def write(self, trial: FrozenTrial) -> None:
        """Write an ended trial some time later; costs microseconds.

        Raises:
            UnavailableError: MLflow did not take an earlier one.
        """
        self._check()
        self._waiting.put(trial)

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            UnavailableError: MLflow did not take it.
        """
        self._end(threading.TIMEOUT_MAX)
        self._check()

    def _end(self, seconds: float) -> None:
        """Let the threads end, and wait for that so long at most."""
        deadline = monotonic() + seconds
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _check(self) -> None:
        if self._error is not None:
            with answering(self._parent.uri):
                raise self._error

    def _work(self) -> None:
        client = self._parent.client()
        while (trial := self._waiting.get()) is not None and not self._is_stopping:
            try:
                write_run(client, self._parent, trial)
            except Exception as exc:  # raised again in the thread that searches
                self._error, self._is_stopping = exc, True
                return


def write_run(client: "MlflowClient", parent: Parent, trial: FrozenTrial) -> None:
    """Write the run of one trial."""
    from mlflow.entities import Metric, Param

    number, result = place_of(trial) + 1, result_of(trial)
    tags = {PARENT: parent.run_id, RUN_NAME: f"trial {number}", "stage": "trial"}
    tags |= {"study": parent.study, NUMBER: str(number), "state": trial.state.name.lower()}
    tags |= {"reason": result["reason"]} if "reason" in result else {}
    began, ended = _milliseconds(trial.datetime_start), _milliseconds(trial.datetime_complete)
    run = client.create_run(parent.experiment_id, start_time=began, tags=tags)
    numbers = [Metric(*item) for item in _metrics(result, began)]
    parameters = [Param(name, _text(value)) for name, value in point_of(trial).items()]
    client.log_batch(run.info.run_id, metrics=numbers, params=parameters)
    client.set_terminated(run.info.run_id, STATES[trial.state], ended)


def write_missing(parent: Parent, trials: list[FrozenTrial]) -> int:
    """Write the runs of trials that have none, and return how many those were.

    A run that a killed worker left unfinished is marked as such, and written again.
    """
    client = parent.client()
    with answering(parent.uri):
        written = set()
        for run in _children(client, parent):
            if run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "KILLED")
            elif run.info.status in STATES.values():
                written.add(int(run.data.tags.get(NUMBER, 0)))
    missing = [trial for trial in trials if place_of(trial) + 1 not in written]
    with RunWriter(parent) as writer:
        for trial in missing:
            writer.write(trial)
    return len(missing)


def _children(client: "MlflowClient", parent: Parent) -> Iterator[Any]:
    token: str | None = None
    of_study = f"tags.`{PARENT}` = '{parent.run_id}' and tags.stage = 'trial'"
    while True:
        page = client.search_runs(
            [parent.experiment_id], of_study, max_results=PER_PAGE, page_token=token
        )
        yield from page
        if not (token := page.token):
            return


def _metrics(result: Mapping[str, Any], at: int) -> Iterator[tuple[str, float, int, int]]:
    for name in MEASURED:
        value = result.get(name)
        if value is not None and math.isfinite(value):
            yield name, float(value), at, 0
    further = {**result.get("scores", {}), **result.get("gaps", {})}
    for name in (n for n in further if n not in MEASURED):
        yield name, float(further[name]), at, 0
    for fold, loss in enumerate(result.get("fold_losses", ())):
        yield "fold_loss", float(loss), at, fold


def _milliseconds(at: datetime | None) -> int:
    assert at is not None  # of a trial that has ended both times are known
    return int(at.timestamp() * 1000)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
