"""Trials: every distinct recipe that was tried, counted by the engine.

The deflated Sharpe ratio (Bailey & Lopez de Prado 2014, doi:10.3905/jpm.2014.40.5.094) needs N,
the number of trials behind a result, and so does every other test of skill. A number passed by the
user would always be too small, so it is kept here from the first run on. No key says which trials
belong together: each remembers its data (`registry/trial_data.py`), and for the trial at hand those
on the same data are found (`pipelines/recipes/trial_family.py`). A refit with an unchanged recipe
adds observations, not a trial; any changed parameter adds one.

With the count are kept the trials' out-of-fold returns before costs and what costs are charged on,
so that all of them can be compared at the costs of one.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from registry import tables
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import ShapeError, ValueRangeError
from registry.trial_data import TrialData, from_columns, to_columns

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrialReturns:
    """What one trial's strategy earned out of fold, per period, fractions.

    `dates`: (T,) int64 microseconds UTC, rising; `returns`: (T,) float64, active, before the costs
    that `amounts` leads to. `amounts`: name -> (T,) what a cost is charged on (`method/costs.py`);
    empty where the returns are net already.
    """

    recipe: str
    dates: NDArray[np.int64]
    returns: Array
    amounts: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe tried on one set of data.

    `question`: what it was tried for; only trials with the same one are compared.
    `first_test`: where its tests began, microseconds UTC; `asked_for` whether a caller chose that.
    `sharpe_per_period`: mean over standard deviation of one period's returns, never annualised;
    None without returns. `trading_share`: share of the periods with a position.
    `earlier`: family and recipe under which it was counted before there were samples of data.
    """

    question: str
    recipe: str
    model_id: str
    run_id: str
    data: TrialData
    first_test: int
    asked_for: bool = False
    sharpe_per_period: float | None = None
    trading_share: float | None = None
    earlier: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class KnownTrial:
    """A counted trial; `data_sha256` is None and `family` is set where its data are not known."""

    id: str
    recipe: str
    model_id: str
    family: str | None
    data_sha256: str | None
    sharpe_per_period: float | None
    trading_share: float | None


def family_key(
    template: str,
    label_spec: Mapping[str, Json],
    cost_spec: Mapping[str, Json],
    symbols: Sequence[str],
) -> str:
    """Return the key (64 hex digits) by which trials were grouped before their data were kept."""
    facts = [template, dict(label_spec), dict(cost_spec), sorted(symbols)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def count(engine: sa.Engine, trial: Trial) -> str:
    """Count a trial and return its id.

    Idempotent: the same recipe on the same data is no new trial, nor is it on more of them. Its
    newer facts replace the older ones, and its first run stays on record. Data that end earlier
    than those it was counted with, or tests that a caller lets begin elsewhere, make another trial:
    choosing a span is a choice.

    Raises:
        ValueRangeError: a Sharpe ratio that is not finite.
    """
    sharpe = trial.sharpe_per_period
    if sharpe is not None and not math.isfinite(sharpe):
        raise ValueRangeError("sharpe_per_period", sharpe, "a finite number or None")
    with engine.begin() as connection:
        _keep_data(connection, trial.data)
        key = _key(connection, trial)
        before = _data_of(connection, key)
        _insert(connection, trial, key)
    if before not in (None, trial.data.sha256):
        _forget_data(engine, str(before))
    return key


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _key(connection: sa.Connection, trial: Trial) -> str:
    """Return the id of the trial: that of its recipe and data, unless its span was chosen."""
    data = trial.data
    key = _digest(trial.question, trial.recipe, data.names, data.interval, data.first)
    table, kept = tables.trials, tables.trial_data
    query = (
        sa.select(table.c.first_test, kept.c.last)
        .join(kept, kept.c.sha256 == table.c.data_sha256)
        .where(table.c.id == key)
    )
    found = connection.execute(query).one_or_none()
    if found is None:
        return key
    began_elsewhere = trial.asked_for and found.first_test != trial.first_test
    chosen = {
        "first_test": trial.first_test if began_elsewhere else None,
        "last": data.last if data.last < found.last else None,
    }
    return _digest(key, chosen) if any(chosen.values()) else key


def _keep_data(connection: sa.Connection, data: TrialData) -> None:
    """Store the sample; locks the row, so that nobody forgets it before the trial names it."""
    insert = insert_for(connection, tables.trial_data).values(to_columns(data))
    same = {"interval": insert.excluded.interval}
    connection.execute(insert.on_conflict_do_update(index_elements=["sha256"], set_=same))


def _data_of(connection: sa.Connection, key: str) -> str | None:
    query = sa.select(tables.trials.c.data_sha256).where(tables.trials.c.id == key)
    found = connection.scalar(query)
    return None if found is None else str(found)


def _insert(connection: sa.Connection, trial: Trial, key: str) -> None:
    table = tables.trials
    values: dict[str, Any] = {
        "id": key,
        "question": trial.question,
        "recipe": trial.recipe,
        "family": None,
        "data_sha256": trial.data.sha256,
        "model_id": trial.model_id,
        "run_id": trial.run_id,
        "first_test": trial.first_test,
        "sharpe_per_period": trial.sharpe_per_period,
        "trading_share": trial.trading_share,
        "first_seen_at": _take_over(connection, trial.earlier) or datetime.now(UTC),
    }
    insert = insert_for(connection, table).values(values)
    newer: dict[str, Any] = {n: insert.excluded[n] for n in ("data_sha256", "first_test")}
    for name in ("sharpe_per_period", "trading_share"):
        newer[name] = sa.func.coalesce(insert.excluded[name], table.c[name])
    connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=newer))


def _take_over(connection: sa.Connection, earlier: tuple[str, str]) -> datetime | None:
    """Remove the trial as it was counted before data were kept; return when it was first seen."""
    table, returns = tables.trials, tables.trial_returns
    is_it = (table.c.family == earlier[0]) & (table.c.recipe == earlier[1])
    found = connection.execute(sa.select(table.c.id, table.c.first_seen_at).where(is_it)).first()
    if found is None:
        return None
    connection.execute(sa.delete(returns).where(returns.c.trial == found.id))
    connection.execute(sa.delete(table).where(table.c.id == found.id))
    return found.first_seen_at  # type: ignore[no-any-return]


def _forget_data(engine: sa.Engine, sha256: str) -> None:
    """Delete a sample that no trial names any more."""
    data, named = tables.trial_data, tables.trials.c.data_sha256 == sha256
    unnamed = ~sa.exists().where(named)
    try:
        with engine.begin() as connection:
            connection.execute(sa.delete(data).where(data.c.sha256 == sha256, unnamed))
    except sa.exc.IntegrityError:  # another process has named it meanwhile
        return


def known(engine: sa.Engine, question: str) -> tuple[KnownTrial, ...]:
    """Return the trials of a question, oldest first, with those of which it is not known."""
    table = tables.trials
    columns = (table.c[name] for name in KnownTrial.__slots__)
    query = (
        sa.select(*columns)
        .where(table.c.question.in_((question, "")))
        .order_by(table.c.first_seen_at, table.c.id)
    )
    with reading(engine) as connection:
        return tuple(KnownTrial(*row) for row in connection.execute(query))


def known_data(engine: sa.Engine, digests: Collection[str]) -> tuple[TrialData, ...]:
    """Return the samples of these data sets."""
    table = tables.trial_data
    query = sa.select(table).where(table.c.sha256.in_(digests))
    with reading(engine) as connection:
        return tuple(from_columns(dict(row)) for row in connection.execute(query).mappings())


def keep_returns(engine: sa.Engine, trial: str, series: TrialReturns) -> None:
    """Store the return series of a counted trial; a newer series replaces the older whole.

    Args:
        trial: its id.

    Raises:
        ShapeError: dates, returns and amounts of different length, or dates that do not rise.
        ValueRangeError: a number that is not finite.
        IntegrityError: (of SQLAlchemy) the trial was not counted.
    """
    n, arrays = len(series.dates), (series.returns, *series.amounts.values())
    shapes = {array.shape for array in arrays}
    if shapes != {(n,)} or not (np.diff(series.dates) > 0).all():
        expected = "one return per date, dates rising"
        raise ShapeError("returns of a trial", expected, f"{n} dates, {sorted(shapes)}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueRangeError("returns of a trial", float("nan"), "finite numbers")
    values = {
        "trial": trial,
        "n_periods": n,
        "dates": zlib.compress(series.dates.astype("<i8").tobytes()),
        "returns": _packed([series.returns]),
        "amount_names": list(series.amounts),
        "amounts": _packed([*series.amounts.values()]),
        "updated_at": datetime.now(UTC),
    }
    table = tables.trial_returns
    with engine.begin() as connection:
        insert = insert_for(connection, table).values(values)
        newer = {name: insert.excluded[name] for name in values if name != "trial"}
        connection.execute(insert.on_conflict_do_update(index_elements=["trial"], set_=newer))


def known_returns(engine: sa.Engine, ids: Collection[str]) -> dict[str, TrialReturns]:
    """Return the stored series of these trials by id; trials without one are missing."""
    table, counted = tables.trial_returns, tables.trials
    query = (
        sa.select(table, counted.c.recipe)
        .join(counted, counted.c.id == table.c.trial)
        .where(table.c.trial.in_(ids))
    )
    with reading(engine) as connection:
        return {row["trial"]: _returns(dict(row)) for row in connection.execute(query).mappings()}


def _packed(arrays: Sequence[Array]) -> bytes:
    return zlib.compress(b"".join(array.astype("<f8").tobytes() for array in arrays))


def _unpacked(content: bytes, kind: str = "<f8") -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(content), dtype=kind)


def _returns(row: Mapping[str, Any]) -> TrialReturns:
    names, n = row["amount_names"], row["n_periods"]
    amounts = _unpacked(row["amounts"]).astype(np.float64).reshape(len(names), n)
    dates = _unpacked(row["dates"], "<i8").astype(np.int64)
    returns = _unpacked(row["returns"]).astype(np.float64)
    return TrialReturns(row["recipe"], dates, returns, dict(zip(names, amounts, strict=True)))
