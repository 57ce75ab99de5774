"""Reported outcomes: what users say became of predictions, in the table `outcomes`.

One outcome per model, symbol and time. The first one stays: saying it again changes nothing, and
another value is a conflict. Only of kinds that say so (`InputKind.is_reported`: tables and texts)
do reported outcomes make the realised loss; over bars the labels that the engine computes count.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

import numpy as np
import polars as pl
import sqlalchemy as sa
import structlog
from numpy.typing import NDArray

from monitoring.outcomes import SCHEMA, latest, with_all_scores
from pipelines.data.bars import to_microseconds
from pipelines.method.rows import LabelledRows
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES
from registry.database import insert_for, reading
from registry.errors import TableError
from registry.tables import outcomes
from registry.version_files import VersionFiles

T = TypeVar("T")

AT_ONCE = 500
"""Rows in one statement; databases limit its parameters."""

log = structlog.get_logger(__name__)
Key = tuple[str, str, datetime]
"""Model, symbol and time: what an outcome is about."""


@dataclass(frozen=True, slots=True)
class ReportedOutcome:
    """One row of `outcomes`. `number` is the version that predicted, None where none is logged.

    `value` is a number, or the name of a class; `known_at` is when it became known in the world,
    `received_at` when it was reported.
    """

    model_id: str
    symbol: str
    as_of: datetime
    number: int | None
    value: float | str
    known_at: datetime
    received_at: datetime
    actor: str

    @property
    def key(self) -> Key:
        """What it is about."""
        return (self.model_id, self.symbol, self.as_of)


def keep(
    connection: sa.Connection, reported: Sequence[ReportedOutcome]
) -> tuple[set[Key], dict[Key, float | str]]:
    """Store the outcomes that are new, in the caller's transaction; safe for several writers.

    Args:
        reported: each key once.

    Returns:
        The keys that are new, and the values held for all others.
    """
    new = insert_for(connection, outcomes).on_conflict_do_nothing()
    named = new.returning(outcomes.c.model_id, outcomes.c.symbol, outcomes.c.as_of)
    rows = [asdict(outcome) for outcome in reported]
    added = {tuple(row) for row in connection.execute(named, rows)} if rows else set()
    held = [outcome for outcome in reported if outcome.key not in added]
    return added, _held(connection, held)


def read_reported(engine: sa.Engine, model_id: str, since: datetime) -> list[ReportedOutcome]:
    """Return the outcomes of a model's predictions with as_of >= since, by as_of and symbol."""
    query = (
        sa.select(outcomes)
        .where(outcomes.c.model_id == model_id, outcomes.c.as_of >= since)
        .order_by(outcomes.c.as_of, outcomes.c.symbol)
    )
    with reading(engine) as connection:
        return [ReportedOutcome(**row._asdict()) for row in connection.execute(query)]


def realised_as_reported(
    logged: pl.DataFrame, version: VersionFiles, reported: Iterable[ReportedOutcome]
) -> pl.DataFrame:
    """Return one row of `outcomes.SCHEMA` per logged prediction with a reported outcome.

    The loss is the template's own, of the scores that were logged. An outcome that the version
    cannot read (a class it does not have) is left out, and the log counts them.

    Args:
        logged: rows of the prediction log; those of other versions are left out.
    """
    mine = latest(with_all_scores(logged, version))
    told = {(outcome.symbol, outcome.as_of): outcome for outcome in reported}
    kind, contract = kind_of(version.contract.template), version.contract
    found: list[tuple[ReportedOutcome, float, list[float]]] = []
    n_unread = 0
    for symbol, as_of, scores in mine.select("symbol", "as_of", "scores").iter_rows():
        outcome = told.get((symbol, as_of))
        if outcome is None:
            continue
        try:
            found.append((outcome, kind.reported(contract, outcome.value), scores))
        except TableError:
            n_unread += 1
    if n_unread:
        log.warning("outcomes not read", model=version.model_id, outcomes=n_unread)
    return _judged(version, found) if found else pl.DataFrame(schema=SCHEMA)


def _judged(
    version: VersionFiles, found: Sequence[tuple[ReportedOutcome, float, list[float]]]
) -> pl.DataFrame:
    told, values, scores = zip(*found, strict=True)
    y = np.array(values, dtype=np.float64)
    template, decoder = TEMPLATES.get(version.contract.template), version.decoder
    rows = _rows(version, y, told)
    return pl.DataFrame(
        {
            "symbol": [outcome.symbol for outcome in told],
            "as_of": [outcome.as_of for outcome in told],
            "known_at": [outcome.known_at for outcome in told],
            "y": y,
            "loss": template.loss(rows, np.array(scores, dtype=np.float32), decoder),
            "baseline_loss": template.baseline_loss(rows, decoder),
        },
        schema=SCHEMA,
    )


def _rows(
    version: VersionFiles, y: NDArray[np.float64], told: Sequence[ReportedOutcome]
) -> LabelledRows:
    """Return the rows as the template's losses take them; they hold no inputs."""
    contract, n_rows = version.contract, len(y)
    template = TEMPLATES.get(contract.template)
    context = kind_of(template).constants(contract.label_spec, n_rows)
    target, fit = template.target(y, context)
    return LabelledRows(
        X=np.zeros((n_rows, 0), dtype=np.float32),
        y=y,
        target=target,
        context=context,
        outcome={},
        symbol=np.zeros(n_rows, dtype=np.int32),
        symbols=("",),
        t0=np.array([to_microseconds(outcome.as_of) for outcome in told], dtype=np.int64),
        t1=np.array([to_microseconds(outcome.known_at) for outcome in told], dtype=np.int64),
        fit=fit,
        spec=contract.label_spec,
    )


def _held(connection: sa.Connection, asked: Sequence[ReportedOutcome]) -> dict[Key, float | str]:
    keys = {outcome.key for outcome in asked}
    found: dict[Key, float | str] = {}
    for model_id in sorted({outcome.model_id for outcome in asked}):
        times = sorted({outcome.as_of for outcome in asked if outcome.model_id == model_id})
        for part in _parts(times):
            query = sa.select(outcomes).where(
                outcomes.c.model_id == model_id, outcomes.c.as_of.in_(part)
            )
            for row in connection.execute(query):
                if (key := (row.model_id, row.symbol, row.as_of)) in keys:
                    found[key] = row.value
    return found


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, AT_ONCE)):
        yield part
