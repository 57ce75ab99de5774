"""What every stage does around its work: one MLflow run, and one clear line when it stops.

A stage is a function of values; `stage_run` opens its run (nested when a driver has one open),
and `exit_with` is the process boundary that turns a deliberate error into one line and status 2.
"""

import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

from pipelines import progress
from registry.command_line import run
from registry.database import opened_engine
from registry.errors import MLEngineError, RegistryUnavailableError
from registry.mlflow_failures import answering
from registry.settings import PlatformSettings, check_tracking_uri, read_settings
from registry.tracking_server import check_reachable
from registry.versions import Registry, check_model_id

RUN_NAME, DESCRIPTION = "mlflow.runName", "mlflow.note.content"
"""Tags that MLflow's UI shows as a run's name and as the text on top of a page."""
ABOUT_RUNS = (
    "**main** makes a version (train, validate, convert lie below it), **tune** searches recipes "
    "(its trials lie below it), **drift** watches the version that serves, **advance** moves "
    "retraining on. Metrics: docs/templates.md"
)
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Read when OpenMP loads: threads that wait sleep instead of spinning. It costs a fit that has
    # the machine to itself and saves more where cores are shared (`python -m bench.fit`).
    "OMP_WAIT_POLICY": "PASSIVE",
}


def platform_settings() -> PlatformSettings:
    """Return the settings after checking that MLflow is the engine database's and answers.

    Raises:
        ForeignTrackingError: this process would write to another MLflow.
        RegistryUnavailableError: nothing answers at the platform's address.
        PairMismatchError: what answers there is not this engine database's MLflow.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settings = read_settings(PlatformSettings)
    if "MLFLOW_TRACKING_URI" in os.environ:  # before MLflow is imported, which takes seconds
        check_tracking_uri(os.environ["MLFLOW_TRACKING_URI"], settings)
        check_reachable(settings.mlflow_tracking_uri)
    import mlflow

    check_tracking_uri(mlflow.get_tracking_uri(), settings)
    check_reachable(settings.mlflow_tracking_uri)
    with opened_engine(settings) as engine:
        Registry(settings, engine).check_pair()
    return settings


def check_numbers(settings: PlatformSettings, model_id: str) -> None:
    """Refuse to fit what could not be registered, as `Registry.check_numbers` does."""
    check_model_id(model_id)
    with opened_engine(settings) as engine:
        Registry(settings, engine).check_numbers(model_id)


@contextmanager
def stage_run(stage: str, model_id: str, *groups: Any) -> Iterator[str]:
    """Open the stage's MLflow run, log its parameters, yield its id.

    A deliberate error is recorded as tag `error` before the run ends as failed.

    Raises:
        ParameterError: a model name that the registry would refuse, before any work is done.
        RegistryUnavailableError, ArtifactStoreUnavailableError: MLflow, or the store behind it, has
            not answered for as long as MLflow's own retries last (four minutes).
    """
    import mlflow

    check_model_id(model_id)
    nested = mlflow.active_run() is not None
    with answering(mlflow.get_tracking_uri()):
        if not nested and "MLFLOW_RUN_ID" not in os.environ:
            mlflow.set_experiment(model_id)
        with mlflow.start_run(run_name=f"{stage} {model_id}", nested=nested) as run:
            mlflow.set_tags({"stage": stage, "model_id": model_id})
            if not nested:
                _describe_experiment(run.info.experiment_id)
            logged = mlflow.get_run(run.info.run_id).data.params  # `mlflow run` has logged its own
            mlflow.log_params({k: v for k, v in flat(*groups).items() if k not in logged})
            with _error_noted(mlflow.get_tracking_uri()):
                yield run.info.run_id


@contextmanager
def _error_noted(uri: str) -> Iterator[None]:
    """Note a deliberate error on the active run, where MLflow answers."""
    import mlflow

    try:
        with answering(uri):
            yield
    except RegistryUnavailableError:  # asking it again would take minutes more
        raise
    except MLEngineError as exc:
        mlflow.set_tag("error", str(exc))
        raise


def say_what_run_is(name: str, account: str) -> None:
    """Name the active run after what it made, and describe it (Markdown) on its page."""
    import mlflow

    mlflow.set_tags({RUN_NAME: name, DESCRIPTION: account})


def tell_run(run_id: str, account: str, metrics: Mapping[str, float]) -> None:
    """Describe a run of another process, and log its finite metrics."""
    import mlflow

    mlflow.MlflowClient().set_tag(run_id, DESCRIPTION, account)
    log_metrics(metrics, run_id=run_id)


def _describe_experiment(experiment_id: str) -> None:
    """Describe the experiment on its page, unless somebody has."""
    import mlflow

    client = mlflow.MlflowClient()
    if DESCRIPTION not in client.get_experiment(experiment_id).tags:
        client.set_experiment_tag(experiment_id, DESCRIPTION, ABOUT_RUNS)


def flat(*groups: Any) -> dict[str, Any]:
    """Return the fields of all groups as one mapping."""
    together: dict[str, Any] = {}
    for group in groups:
        assert is_dataclass(group) and not isinstance(group, type)
        together |= asdict(group)
    return together


def log_metrics(
    metrics: Mapping[str, float], step: int | None = None, run_id: str | None = None
) -> None:
    """Log the finite metrics of the active run or of a named one, at a step where there are any."""
    import mlflow

    finite = {k: float(v) for k, v in metrics.items() if math.isfinite(v)}
    mlflow.log_metrics(finite, step=step, run_id=run_id)


def exit_with(work: Callable[[], object]) -> None:
    """Run a stage as a process: status 0, or 2 and one line on standard error.

    SIGTERM ends it as an exception would, with status 143: its runs do not stay open.
    """

    def shown() -> None:
        with _ended_by_sigterm(), progress.shown():
            work()

    run(shown)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Raise SystemExit in the block for the first SIGTERM; later ones change nothing."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
