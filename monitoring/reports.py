"""Drift reports: one row per judged window of one version in `drift_reports`.

A window is judged once: saving it again changes nothing and says so, which makes the drift stage
safe to repeat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from registry.contract import Json
from registry.database import insert_for, reading
from registry.tables import drift_reports

Verdict = Literal["drift", "no_drift", "no_verdict", "bad_data"]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found in one window, both ends included.

    `drifted_share` is None without a verdict. `columns`: feature -> statistic, threshold,
    importance. `quality`: check -> passed, detail. `performance`: see `monitoring/performance.py`,
    and `counts_for`, the triggers whose k-of-n rule counts this window.
    """

    model_id: str
    number: int
    window_start: datetime
    window_end: datetime
    n_rows: int
    verdict: Verdict
    drifted_share: float | None
    columns: Mapping[str, Json]
    quality: Mapping[str, Json]
    performance: Mapping[str, Json]
    run_id: str | None
    created_at: datetime

    def counts_for(self, trigger: str) -> bool:
        """Return whether a trigger's k-of-n rule counts this window.

        Windows that an earlier release judged do not say, and count.
        """
        named = self.performance.get("counts_for")
        return not isinstance(named, list) or trigger in named


def save(connection: sa.Connection, report: DriftReport) -> bool:
    """Insert a report; False when this window of this version was judged before."""
    added = connection.execute(
        insert_for(connection, drift_reports)
        .values(asdict(report))
        .on_conflict_do_nothing()
        .returning(drift_reports.c.id)
    )
    return added.one_or_none() is not None


def newest(
    engine: sa.Engine,
    model_id: str,
    number: int | None = None,
    *,
    limit: int = 100,
    until: datetime | None = None,
) -> list[DriftReport]:
    """Return the newest reports of a model, oldest first.

    Args:
        number: of one version; None means of all.
        until: only windows that end at this time or before.
    """
    query = sa.select(drift_reports).where(drift_reports.c.model_id == model_id)
    if number is not None:
        query = query.where(drift_reports.c.number == number)
    if until is not None:
        query = query.where(drift_reports.c.window_end <= until)
    query = query.order_by(drift_reports.c.window_end.desc(), drift_reports.c.id.desc())
    with reading(engine) as connection:
        rows = connection.execute(query.limit(limit)).all()
    return [_report(row) for row in reversed(rows)]


def counting(
    engine: sa.Engine,
    model_id: str,
    number: int,
    triggers: Sequence[str],
    n: int,
    *,
    until: datetime | None = None,
) -> list[DriftReport]:
    """Return a version's newest report and the newest n that count for each trigger, oldest first.

    Args:
        until: only windows that end at this time or before.
    """
    mine = (drift_reports.c.model_id == model_id) & (drift_reports.c.number == number)
    if until is not None:
        mine &= drift_reports.c.window_end <= until
    latest = (drift_reports.c.window_end.desc(), drift_reports.c.id.desc())
    chosen = [sa.select(drift_reports.c.id).where(mine).order_by(*latest).limit(1)]
    for trigger in triggers:
        query = sa.select(drift_reports.c.id).where(mine & _counts_for(trigger))
        chosen.append(query.order_by(*latest).limit(n))
    with reading(engine) as connection:
        ids = {row.id for query in chosen for row in connection.execute(query)}
        found = sa.select(drift_reports).where(drift_reports.c.id.in_(ids))
        rows = connection.execute(found.order_by(*latest)).all()
    return [_report(row) for row in reversed(rows)]


def last_counted(
    engine: sa.Engine, model_id: str, number: int, trigger: str, before: datetime
) -> datetime | None:
    """Return the end of a version's newest window before a time that counts for a trigger."""
    query = sa.select(
        sa.func.max(drift_reports.c.window_end, type_=drift_reports.c.window_end.type)
    )
    query = query.where(
        drift_reports.c.model_id == model_id,
        drift_reports.c.number == number,
        drift_reports.c.window_end < before,
        _counts_for(trigger),
    )
    with reading(engine) as connection:
        found: datetime | None = connection.execute(query).scalar_one()
    return found


def _counts_for(trigger: str) -> sa.ColumnElement[bool]:
    named = sa.cast(drift_reports.c.performance["counts_for"], sa.String)
    is_silent = named.is_(None) | (named == "null")  # of an earlier release
    return is_silent | named.like(f'%"{trigger}"%')


def _report(row: sa.Row[Any]) -> DriftReport:
    facts = row._asdict()
    del facts["id"]
    return DriftReport(**facts)
