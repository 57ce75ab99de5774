"""Job: one row of the queue as a value, and the events of its life."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from registry import events
from registry.contract import Json

STATES = ("queued", "leased", "done", "failed", "cancelled")
OPEN_STATES = ("queued", "leased")
TOLD = "told"
"""Key of `Job.result`: what the run has told (`progress.tell`), the newest."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`; `fence` is also the number of times it has been claimed.

    `progress` is 0 to 1, None while the job has not told; `stage` is what it does, in words.
    """

    id: str
    entry_point: str
    model_id: str | None
    payload: Mapping[str, Json]
    idempotency_key: str | None
    request_sha256: str | None
    actor: str | None
    priority: int
    is_short: bool
    state: str
    due_at: datetime
    owner: str | None
    fence: int
    lease_until: datetime | None
    max_attempts: int
    result: Mapping[str, Json] | None
    error: str | None
    stage: str | None
    progress: float | None
    log_tail: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """What a run has told of itself: the columns of the same names, and the id of its MLflow run.

    `log_tail` holds whole lines, without secrets; `facts` what it told beside how far it is.
    """

    stage: str | None
    progress: float | None
    log_tail: str
    run_id: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)

    def columns(self) -> dict[str, Json]:
        """Return the columns that it changes."""
        told: dict[str, Json] = {"log_tail": self.log_tail}
        if self.progress is not None:
            told |= {"stage": self.stage, "progress": self.progress}
        if self.run_id is not None:
            told["result"] = {"run_id": self.run_id, "status": "RUNNING", **told_of(self.facts)}
        return told


def told_of(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Return the part of `Job.result` that holds what a run has told."""
    return {TOLD: dict(facts)} if facts else {}


def job_of(row: sa.Row[Any]) -> Job:
    """Return a row of `jobs` as a value."""
    facts = row._asdict()
    return Job(entry_point=facts.pop("kind"), **facts)


def append_event(connection: sa.Connection, job: Job, kind: str, actor: str, reason: str) -> None:
    """Append an event about a job in the caller's transaction."""
    run_id = (job.result or {}).get("run_id")
    events.append(
        connection,
        kind,
        actor=actor,
        reason=reason,
        model_id=job.model_id,
        run_id=str(run_id) if run_id else None,
        facts={"job_id": job.id, "entry_point": job.entry_point},
    )
