"""Entry point `schedule`: enqueue the jobs that are due (`python -m monitoring.schedule`).

The worker starts it when a schedule is due, beside a running job, so that no training delays the
watching. It claims the due schedules and enqueues their jobs:

- `drift`: a job `drift` for each production model that has new predictions, and `advance` while a
  retraining cycle is open;
- `refit`: a job `refit` for each production model that is fitted anew every day.

Then it removes logged predictions that are older than PREDICTION_LOG_RETENTION_DAYS.

A run that is killed before it has claimed leaves the schedules due; the worker starts another.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from monitoring.prediction_files import ModelFolder
from monitoring.prediction_retention import remove_old
from monitoring.settings import PredictionLogSettings
from pipelines.jobs import queue, schedules
from pipelines.jobs.job import OPEN_STATES
from pipelines.parameters import parse
from pipelines.recipes.inputs import kind_of
from pipelines.stage import exit_with
from pipelines.templates import TEMPLATES
from registry import managed_models
from registry.database import opened_engine, reading
from registry.settings import PlatformSettings, read_settings
from registry.tables import aliases, retraining_cycles, versions

GROUPS = ()
"""Parameters of the entry point: none."""
DRIFT, REFIT = "drift", "refit"
"""Schedules; each has the name of the entry point that its jobs run."""


def enqueue_due(engine: sa.Engine, platform: PlatformSettings) -> list[str]:
    """Claim the schedules that are due, enqueue their jobs, and return their names."""
    due = schedules.claim_due(engine)
    if DRIFT in due:
        enqueue_drift(engine, platform)
    if REFIT in due:
        enqueue_refits(engine)
    return due


def enqueue_drift(engine: sa.Engine, platform: PlatformSettings) -> None:
    """Enqueue `drift` for each production model with new predictions, then `advance` if needed.

    Models that people set to `watched: false`, and archived ones, are left out. New means: logged
    after the model's newest drift job was created. `advance` is needed when any retraining cycle
    is open; after the drift jobs the worker adds it by itself.
    """
    with reading(engine) as connection:
        served = sa.select(aliases.c.model_id).where(
            aliases.c.alias == "production", aliases.c.number.is_not(None)
        )
        models = [str(row.model_id) for row in connection.execute(served)]
        open_cycle = sa.select(retraining_cycles.c.id).where(
            retraining_cycles.c.closed_at.is_(None)
        )
        is_open = connection.execute(open_cycle.limit(1)).first() is not None
    for model_id in sorted(set(models) - managed_models.unwatched(engine)):
        latest = queue.list_jobs(engine, entry_point=DRIFT, model_id=model_id, limit=1)
        if latest and latest[0].state in OPEN_STATES:
            continue
        logged_at = newest_prediction(platform, model_id)
        if logged_at is not None and (not latest or logged_at > latest[0].created_at):
            queue.enqueue(engine, DRIFT, {"model_name": model_id}, model_id=model_id)
    if is_open:
        queue.enqueue_once(engine, "advance")


def enqueue_refits(engine: sa.Engine) -> None:
    """Enqueue `refit` for each production model that is fitted anew every day, unless one waits.

    Whether a model is watched changes nothing: its answers age all the same.
    """
    query = sa.select(aliases.c.model_id, versions.c.contract).join(
        versions,
        sa.and_(versions.c.model_id == aliases.c.model_id, versions.c.number == aliases.c.number),
    )
    with reading(engine) as connection:
        served = connection.execute(query.where(aliases.c.alias == "production")).all()
    for model_id, contract in served:
        name = contract["template"]
        if name not in TEMPLATES or not kind_of(name).is_refitted_daily:
            continue
        latest = queue.list_jobs(engine, entry_point=REFIT, model_id=model_id, limit=1)
        if not latest or latest[0].state not in OPEN_STATES:
            queue.enqueue(engine, REFIT, {"model_name": model_id}, model_id=model_id)


def newest_prediction(platform: PlatformSettings, model_id: str) -> datetime | None:
    """Return when the model's prediction log was last written; None when there is none."""
    return ModelFolder(platform.predictions_dir / model_id).newest_write()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the entry point from the command line."""
    parse(argv, __doc__, *GROUPS)
    platform = read_settings(PlatformSettings)
    kept_days = read_settings(PredictionLogSettings).prediction_log_retention_days
    with opened_engine(platform) as engine:
        due = enqueue_due(engine, platform)
        print(f"due: {', '.join(due) or 'nothing'}", flush=True)
        remove_old(engine, platform, kept_days)


if __name__ == "__main__":
    exit_with(main)
