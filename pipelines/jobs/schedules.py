"""Schedules: what is due on an interval, in the engine database.

A restart delays nothing, and of several processes one claims what is due. What a schedule means
stands in the entry point `schedule`, which enqueues the jobs (`monitoring/schedule.py`).
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from registry.database import insert_for, reading
from registry.tables import schedules


def keep(
    engine: sa.Engine, name: str, interval_seconds: float, *, now: datetime | None = None
) -> None:
    """Make `name` due every `interval_seconds`, first one interval from now; 0 removes it.

    Calling it again with the same interval changes nothing, so a restart delays nothing.
    """
    now = now or datetime.now(UTC)
    named = schedules.c.name == name
    with engine.begin() as connection:
        if interval_seconds <= 0:
            connection.execute(sa.delete(schedules).where(named))
            return
        wanted = {
            "interval_seconds": interval_seconds,
            "next_due_at": now + timedelta(seconds=interval_seconds),
        }
        connection.execute(
            insert_for(connection, schedules)
            .values({"name": name} | wanted)
            .on_conflict_do_update(
                index_elements=["name"],
                set_=wanted,
                where=schedules.c.interval_seconds != interval_seconds,
            )
        )


def is_any_due(engine: sa.Engine, *, now: datetime | None = None) -> bool:
    """Return whether `claim_due` would find one."""
    late = schedules.c.next_due_at <= (now or datetime.now(UTC))
    with reading(engine) as connection:
        return (
            connection.execute(sa.select(schedules.c.name).where(late).limit(1)).first() is not None
        )


def claim_due(engine: sa.Engine, *, now: datetime | None = None) -> list[str]:
    """Return the schedules that are due and move each to its next time; one caller wins each.

    Times missed while nothing ran are made up for once, not one by one.
    """
    now = now or datetime.now(UTC)
    claimed = []
    with engine.begin() as connection:
        for row in connection.execute(sa.select(schedules).where(schedules.c.next_due_at <= now)):
            moved = connection.execute(
                sa.update(schedules)
                .where(schedules.c.name == row.name, schedules.c.next_due_at == row.next_due_at)
                .values(next_due_at=now + timedelta(seconds=row.interval_seconds))
            )
            if moved.rowcount == 1:
                claimed.append(str(row.name))
    return claimed
