"""Trials: every distinct recipe that a family has tried, counted by the engine.

The deflated Sharpe ratio (Bailey & Lopez de Prado 2014, doi:10.3905/jpm.2014.40.5.094) needs N,
the number of trials behind a result, and the spread of their Sharpe ratios. A number passed by
the user would always be too small, so it is kept here from the first run on. The family is
(template, label spec, cost spec, symbols), never the data: a refit with an unchanged recipe adds
observations, not a trial; any changed parameter adds one.

With the count are kept the trials' out-of-fold return series, from which the probability of
backtest overfitting is computed (`pipelines/method/overfitting.py`).
"""

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from registry import tables
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import ShapeError, ValueRangeError


@dataclass(frozen=True, slots=True)
class TrialReturns:
    """What one recipe's strategy earned out of fold.

    `dates`: (T,) int64 microseconds UTC, rising; `returns`: (T,) float64 active net returns per
    period, fractions.
    """

    recipe: str
    dates: NDArray[np.int64]
    returns: NDArray[np.float64]


def family_key(
    template: str,
    label_spec: Mapping[str, Json],
    cost_spec: Mapping[str, Json],
    symbols: Sequence[str],
) -> str:
    """Return the family's key (64 hex digits); the order of symbols and keys does not matter."""
    facts = [template, dict(label_spec), dict(cost_spec), sorted(symbols)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def count(
    engine: sa.Engine,
    family: str,
    recipe: str,
    model_id: str,
    run_id: str,
    sharpe_per_period: float | None,
) -> tuple[int, tuple[float, ...]]:
    """Count a trial and return what `known` then returns.

    Idempotent per (family, recipe): the same recipe again is no new trial; its Sharpe ratio is
    replaced by the newer estimate when there is one, and its first run stays on record.

    Args:
        sharpe_per_period: mean over standard deviation of one period's returns, never
            annualised; None for a recipe without returns.

    Raises:
        ValueRangeError: a Sharpe ratio that is not finite.
    """
    if sharpe_per_period is not None and not math.isfinite(sharpe_per_period):
        raise ValueRangeError("sharpe_per_period", sharpe_per_period, "a finite number or None")
    values = {
        "family": family,
        "recipe": recipe,
        "model_id": model_id,
        "run_id": run_id,
        "sharpe_per_period": sharpe_per_period,
        "first_seen_at": datetime.now(UTC),
    }
    with engine.begin() as connection:
        insert = insert_for(connection, tables.trials).values(values)
        newer = sa.func.coalesce(
            insert.excluded.sharpe_per_period, tables.trials.c.sharpe_per_period
        )
        key = [tables.trials.c.family, tables.trials.c.recipe]
        connection.execute(
            insert.on_conflict_do_update(index_elements=key, set_={"sharpe_per_period": newer})
        )
    return known(engine, family)


def known(engine: sa.Engine, family: str) -> tuple[int, tuple[float, ...]]:
    """Return N and the family's Sharpe ratios per period, oldest trial first.

    N counts every trial; trials without a Sharpe ratio are missing from the second value.
    """
    query = (
        sa.select(tables.trials.c.sharpe_per_period)
        .where(tables.trials.c.family == family)
        .order_by(tables.trials.c.first_seen_at, tables.trials.c.recipe)
    )
    with reading(engine) as connection:
        found = connection.scalars(query).all()
    return len(found), tuple(float(value) for value in found if value is not None)


def keep_returns(engine: sa.Engine, family: str, series: TrialReturns) -> None:
    """Store the return series of a counted trial; a newer series of the recipe replaces it whole.

    Raises:
        ShapeError: dates and returns of different length, or dates that do not rise.
        ValueRangeError: a return that is not finite.
        IntegrityError: (of SQLAlchemy) the trial was not counted.
    """
    n = len(series.dates)
    if series.returns.shape != (n,) or not (np.diff(series.dates) > 0).all():
        expected = "one return per date, dates rising"
        raise ShapeError("returns of a trial", expected, f"{n} dates, {series.returns.shape}")
    if not np.isfinite(series.returns).all():
        raise ValueRangeError("returns of a trial", float("nan"), "finite numbers")
    values = {
        "family": family,
        "recipe": series.recipe,
        "n_periods": n,
        "dates": zlib.compress(series.dates.astype("<i8").tobytes()),
        "returns": zlib.compress(series.returns.astype("<f8").tobytes()),
        "updated_at": datetime.now(UTC),
    }
    table = tables.trial_returns
    with engine.begin() as connection:
        insert = insert_for(connection, table).values(values)
        newer = {name: insert.excluded[name] for name in values if name not in table.primary_key}
        key = [table.c.family, table.c.recipe]
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=newer))


def known_returns(engine: sa.Engine, family: str) -> tuple[TrialReturns, ...]:
    """Return the family's stored series, oldest trial first; trials without one are missing."""
    table, counted = tables.trial_returns, tables.trials
    query = (
        sa.select(table.c.recipe, table.c.dates, table.c.returns)
        .join(counted, (counted.c.family == table.c.family) & (counted.c.recipe == table.c.recipe))
        .where(table.c.family == family)
        .order_by(counted.c.first_seen_at, counted.c.recipe)
    )
    with reading(engine) as connection:
        found = connection.execute(query).all()
    return tuple(
        TrialReturns(
            row.recipe,
            np.frombuffer(zlib.decompress(row.dates), dtype="<i8").astype(np.int64),
            np.frombuffer(zlib.decompress(row.returns), dtype="<f8").astype(np.float64),
        )
        for row in found
    )
