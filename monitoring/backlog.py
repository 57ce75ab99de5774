"""Backlog: the jobs that wait, by state, and the workers that were seen lately.

Read from the engine database; nothing here writes.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
import sqlalchemy as sa

from pipelines.jobs.job import STATES
from registry.database import reading
from registry.tables import jobs, workers

REMEMBERED = timedelta(days=1)
"""A worker that was not seen for longer is not told about."""


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker process: `owner` is `host:pid`, `seen_at` when it last said that it lives."""

    owner: str
    n_slots: int
    started_at: datetime
    seen_at: datetime

    def local_pid(self) -> int | None:
        """Return its process on this machine; None when it runs elsewhere or has ended."""
        host, pid = (*self.owner.split(":"), "")[:2]
        if host != socket.gethostname() or not pid.isdecimal():
            return None
        try:
            made_at = psutil.Process(int(pid)).create_time()
        except (psutil.Error, OverflowError):
            return None
        is_same = made_at <= self.started_at.timestamp() + 1.0  # else the pid was given away again
        return int(pid) if is_same else None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs by state (every state is named) and workers, the one seen last first."""

    jobs: Mapping[str, int]
    workers: tuple[WorkerSeen, ...]


def read_backlog(engine: sa.Engine, now: datetime | None = None) -> Backlog:
    """Read it now.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    since = (now or datetime.now(UTC)) - REMEMBERED
    counts = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
    seen = (
        sa.select(workers.c.owner, workers.c.n_slots, workers.c.started_at, workers.c.seen_at)
        .where(workers.c.seen_at >= since)
        .order_by(workers.c.seen_at.desc(), workers.c.owner)
    )
    with reading(engine) as connection:
        n_jobs = {str(state): int(n) for state, n in connection.execute(counts)}
        found = tuple(WorkerSeen(*row) for row in connection.execute(seen))
    return Backlog({state: n_jobs.get(state, 0) for state in STATES}, found)
