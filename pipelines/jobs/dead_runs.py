"""Dead runs: what a killed process leaves open in MLflow, and how it is ended.

MLflow ends a run in the process that began it. A stage or a worker that is killed (kill -9, out of
memory, power) leaves its runs RUNNING for ever. Whoever notices that a job's process is gone ends
them: the worker of the job, or the next one that finds its lease run out.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

TOLD = re.compile(r"in run with ID '([0-9a-f]{32})'")
"""How MLflow's own runner names the run, in the output of the job."""
STATUS = "KILLED"
RUNNING = "RUNNING"
MOST_CHILDREN = 1000


def told_in(log_path: Path) -> set[str]:
    """Return the runs that the output of a job names, of all its attempts."""
    try:
        return set(TOLD.findall(log_path.read_text(errors="replace")))
    except OSError:
        return set()


def end_runs(tracking_uri: str, run_ids: Iterable[str]) -> int:
    """End these runs and those below them that are still open; return how many there were.

    Doing it again changes nothing; a run that MLflow does not have is left out.

    Raises:
        MlflowException: MLflow does not answer.
    """
    from mlflow import MlflowClient

    client, n_ended = MlflowClient(tracking_uri=tracking_uri), 0
    for run in _open_runs(client, run_ids):
        client.set_terminated(run.info.run_id, STATUS)
        n_ended += 1
    return n_ended


def _open_runs(client: "MlflowClient", run_ids: Iterable[str]) -> Iterator[Any]:
    """Yield the runs that are open, those below another one first."""
    from mlflow.exceptions import MlflowException

    for run_id in run_ids:
        try:
            run = client.get_run(run_id)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        below = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = '{RUNNING}'"
        children = client.search_runs([run.info.experiment_id], below, max_results=MOST_CHILDREN)
        yield from _open_runs(client, [child.info.run_id for child in children])
        if run.info.status == RUNNING:
            yield run
