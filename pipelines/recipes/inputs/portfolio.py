"""Inputs `portfolio`: the returns of all symbols together, one row per date that all have a bar on.

A row of `X` holds the return of each symbol up to its date. The label is the return of the judged
portfolio (`spec["weights"]`) over the bars after it. The fitted model takes weights, not returns:
`sample` gives portfolios.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import from_microseconds
from pipelines.data.names import NO_SYMBOL
from pipelines.method.agreement import difference
from pipelines.method.rows import LabelledRows
from pipelines.recipes.inputs import Data, Dataset, Definition, Layout
from pipelines.recipes.inputs.origins import FromBars
from pipelines.recipes.recipe import Recipe, fold_scores
from pipelines.templates import Arrays
from pipelines.templates.portfolio_risk import NAME_OF_ROWS, baselines
from pipelines.templates.portfolio_risk.answers import EVERY_MEASURE
from registry.contract import Json, ModelContract
from registry.errors import BarsError, ParameterError, TooLittleHistoryError
from registry.gates import COMMON, GateRow

Array = NDArray[np.float64]

DEFINITION = "simple close-to-close returns on the dates that all symbols have a bar on, v1"
FINGERPRINT = hashlib.sha256(DEFINITION.encode()).hexdigest()
MOST_MISSING = 0.05
"""Share of the universe's dates that one symbol may lack before it is refused by name."""
N_CUTS = 4


class PortfolioInputs(FromBars):
    """Rows of returns; requests bring weights.

    Weights are a caller's choice, so they cannot drift from anything. The scenarios hold the
    volatility of their last day.
    """

    name = "portfolio"
    feature_sets = ("portfolio_returns",)
    is_watched = False
    is_refitted_daily = True

    def describe(self, recipe: Recipe, data: Data, spec: dict[str, Json]) -> Layout:
        """Return the symbols as the names of a portfolio's weights."""
        return Layout("portfolio_returns", data.symbols, FINGERPRINT, 2)

    def rows(
        self, recipe: Recipe, data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return one row per common date from the second on.

        Raises:
            BarsError: a symbol lacks too many of the dates that the others have.
            TooLittleHistoryError: no labelled date remains.
        """
        dates, closes = common_closes(data)
        horizon = cast(int, spec["horizon_bars"])
        X = closes[1:] / closes[:-1] - 1
        y = np.full(len(X), np.nan)
        t1 = np.full(len(X), -1, dtype=np.int64)
        if len(X) > horizon:
            ahead = closes[1 + horizon :] / closes[1:-horizon] - 1
            y[:-horizon] = ahead @ np.asarray(spec["weights"], dtype=np.float64)
            t1[:-horizon] = dates[1 + horizon :]
        rows = replace(_labelled(X, y, (dates[1:], t1), recipe, spec), columns=data.symbols)
        found = rows if keep_unlabelled else rows.take(rows.t1 >= 0)
        if not len(found):
            hint = "read more bars"
            raise TooLittleHistoryError("a labelled date", horizon + 2, len(closes), hint)
        return found

    def sample(self, rows: LabelledRows, n_rows: int) -> NDArray[np.float32]:
        """Return portfolios: the judged one, then long-only and long-short ones, seeded."""
        rng = np.random.default_rng(0)
        judged = np.asarray(rows.spec["weights"], dtype=np.float64)
        drawn = rng.dirichlet(np.ones(len(judged)), n_rows)
        drawn[1::2] = 2 * drawn[1::2] - rng.dirichlet(np.ones(len(judged)), len(drawn[1::2]))
        drawn[0] = judged
        return np.ascontiguousarray(drawn, dtype=np.float32)

    def sample_context(self, rows: LabelledRows, n_rows: int) -> Arrays:
        """Return every measure as asked for, at two levels where it has one."""
        return {name: np.ones(n_rows) for name in EVERY_MEASURE}

    def answer_features(self, rows: LabelledRows) -> NDArray[np.float32]:
        """Return the weights of the judged portfolio, whose losses the scores are."""
        judged = np.asarray(rows.spec["weights"], dtype=np.float32)
        return np.tile(judged, (len(rows), 1))

    def checks(self, recipe: Recipe, dataset: Dataset) -> tuple[GateRow, ...]:
        """Recompute rows, and a walked forecast, from data cut at several dates."""
        return _causality(self, recipe, dataset), _parity(dataset)

    def frame_columns(
        self, contract: ModelContract, definition: Definition, available: Collection[str]
    ) -> tuple[str, ...]:
        """Refuse rows: each question is a portfolio with the measures that are asked for."""
        expected = f"a model that answers about rows; {contract.model_id} measures portfolios"
        raise ParameterError("model", contract.model_id, expected)

    def load(self, contract: ModelContract, read: Callable[[str], bytes]) -> Definition:
        """Return nothing to compute with: a request brings the weights."""
        return Definition(FINGERPRINT)


def common_closes(data: Data) -> tuple[NDArray[np.int64], Array]:
    """Return the dates that all symbols have a bar on (n,), and their closes (n, n_symbols).

    Raises:
        BarsError: a symbol lacks more than 5 % of all dates.
    """
    named = data.frame.select("symbol", "close", pl.col("timestamp").alias(NO_SYMBOL))
    wide = named.pivot(on="symbol", index=NO_SYMBOL, values="close").sort(NO_SYMBOL)
    counted = {s: wide.height - wide[s].null_count() for s in data.symbols}
    for symbol, n_bars in counted.items():
        if n_bars < (1 - MOST_MISSING) * wide.height:
            problem = f"{symbol} has bars on {n_bars} of {wide.height} dates of the universe"
            hint = "leave it out with symbols=, choose a later start=, or read its missing bars"
            raise BarsError(problem, data.source, hint)
    common = wide.drop_nulls(list(data.symbols))
    times = common[NO_SYMBOL].to_physical().to_numpy()
    return times, common.select(data.symbols).to_numpy().astype(np.float64)


def _labelled(
    X: Array,
    y: Array,
    times: tuple[NDArray[np.int64], NDArray[np.int64]],
    recipe: Recipe,
    spec: dict[str, Json],
) -> LabelledRows:
    context = baselines(X, spec)
    target, fit = recipe.template.target(y, context)
    return LabelledRows(
        X=np.ascontiguousarray(X, dtype=np.float32),
        y=y,
        target=target,
        context=context,
        outcome={},
        symbol=np.zeros(len(X), dtype=np.int32),
        symbols=(NAME_OF_ROWS,),
        t0=times[0],
        t1=times[1],
        fit=fit,
        spec=spec,
    )


def _cuts(rows: LabelledRows, first: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(0)
    return (
        np.sort(rng.integers(first, len(rows), N_CUTS)) if len(rows) > first else np.zeros(0, int)
    )


def _causality(kind: PortfolioInputs, recipe: Recipe, dataset: Dataset) -> GateRow:
    """Compare rows and walked losses at t with those computed without later bars."""
    rows, fold = dataset.rows, dataset.folds[0]
    fitted = recipe.fit(rows.take(fold.train))
    tested = rows.take(fold.test)
    walked = fold_scores(fitted, rows, tested)
    worst = 0.0
    cuts = _cuts(tested, 1)
    for cut in cuts:
        end = from_microseconds(int(tested.t0[cut]))
        data = dataset.data.between(None, end)
        past = kind.rows(recipe, data, dataset.label_spec, keep_unlabelled=True)
        row = len(past) - 1
        worst = max(worst, difference(tested.X[cut], past.X[row]))
        for name, values in past.context.items():
            worst = max(worst, difference(tested.context[name][cut], values[row]))
        known = past.take(past.t0 >= tested.t0[0])
        worst = max(worst, difference(walked[cut], fold_scores(fitted, past, known)[-1]))
    note = f"returns, baselines and losses at {len(cuts)} dates, made again without later bars"
    return COMMON.row("causality", worst if len(cuts) else None, note)


def _parity(dataset: Dataset) -> GateRow:
    """Compare returns with those of the two closes they are made of."""
    dates, _ = common_closes(dataset.data)
    worst, rows = 0.0, dataset.rows
    cuts = _cuts(rows, 0)
    for cut in cuts:
        newest = int(np.searchsorted(dates, rows.t0[cut]))
        last, before = (from_microseconds(int(dates[newest - back])) for back in (0, 1))
        pair = dataset.data.between(before, last)
        _, two = common_closes(pair)
        worst = max(worst, difference(rows.X[cut], two[-1] / two[0] - 1))
    note = "whole history against two closes; the weights of a request are used as they are"
    return COMMON.row("feature_parity", worst if len(cuts) else None, note)


KIND = PortfolioInputs()
