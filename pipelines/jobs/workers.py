"""Workers: the processes that run jobs, and when each was last alive (rows of `workers`)."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from registry.database import insert_for
from registry.tables import workers

FORGOTTEN_AFTER = timedelta(days=1)
"""A worker that was killed leaves its row; another one removes it after this."""


def note_alive(engine: sa.Engine, owner: str, n_slots: int) -> None:
    """Write down that a worker is alive now; its first call also forgets those long dead."""
    now = datetime.now(UTC)
    row = {"owner": owner, "n_slots": n_slots, "started_at": now, "seen_at": now}
    with engine.begin() as connection:
        seen = sa.update(workers).where(workers.c.owner == owner).values(seen_at=now)
        if connection.execute(seen).rowcount:
            return
        old = workers.c.seen_at < now - FORGOTTEN_AFTER
        connection.execute(sa.delete(workers).where(old))
        connection.execute(insert_for(connection, workers).values(row).on_conflict_do_nothing())


def forget(engine: sa.Engine, owner: str) -> None:
    """Remove a worker that has stopped."""
    with engine.begin() as connection:
        connection.execute(sa.delete(workers).where(workers.c.owner == owner))
