"""How market regimes are judged: whether the state tells the next bar's return distribution.

The log score of the one-step predictive density is compared, per date over symbols, with that of an
EWMA volatility filter scaled on the same training slice: a Gaussian that knows how much the market
moved lately. That volatility changes is no news, so a Gaussian of one variance is no rival. States
that only look plausible in hindsight lose here: their probabilities are filtered, and their moments
come from earlier rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import plausibility
from pipelines.method.mean_tests import diebold_mariano
from pipelines.method.rows import LabelledRows
from pipelines.templates import Evaluation
from registry.gates import MARKET_REGIME, PLAUSIBLE_LIKELIHOOD

Array = NDArray[np.float64]

CALM, TURBULENT = "calm", "turbulent"
BETWEEN = {3: ("normal",), 4: ("normal", "restless"), 5: ("quiet", "normal", "restless")}


def regime_names(n_states: int) -> tuple[str, ...]:
    """Return the names of states in order of rising variance, `calm` to `turbulent`.

    Above five states those between are numbered; a single state is `calm`.
    """
    if n_states < 3:
        return (CALM, TURBULENT)[:n_states]
    numbered = tuple(f"state_{k}" for k in range(1, n_states - 1))
    return (CALM, *BETWEEN.get(n_states, numbered), TURBULENT)


def most_probable(p: Array) -> NDArray[np.intp]:
    """Return the number of each row's most probable state."""
    return np.asarray(p.argmax(axis=1), dtype=np.intp)


def state_paths(
    rows: LabelledRows, state: NDArray[np.intp], fold: NDArray[np.int64]
) -> Iterator[NDArray[np.intp]]:
    """Yield the states of each symbol in time order, cut where another fit takes over."""
    order = np.lexsort((rows.t0, rows.symbol))
    key = rows.symbol[order].astype(np.int64) * (int(fold.max(initial=0)) + 1) + fold[order]
    yield from np.split(state[order], np.flatnonzero(np.diff(key) != 0) + 1)


@dataclass(frozen=True, slots=True)
class RegimeForecasts:
    """The forecast of each row: (n, n_states) probabilities, and minus the log density of y.

    `model` and `baseline` are NaN on rows whose fold had no earlier rows to learn from.
    """

    probabilities: Array
    model: Array
    baseline: Array
    fold: NDArray[np.int64]


def judge(rows: LabelledRows, forecasts: RegimeForecasts, bars_per_year: float) -> Evaluation:
    """Return metrics, the gate and tables."""
    state, k = most_probable(forecasts.probabilities), forecasts.probabilities.shape[1]
    judged = np.isfinite(forecasts.model)
    test = diebold_mariano(forecasts.baseline, forecasts.model, rows.t0)
    gain = test.z
    note = (
        "log predictive density of the next return minus that of an EWMA volatility filter, per "
        f"date: {test.note}; {int(judged.sum())} rows with earlier folds"
    )
    lengths = _run_lengths(rows, state, forecasts.fold)
    metrics = {
        "n_states": float(k),
        "n_oof_rows": float(judged.sum()),
        "n_oof_dates": float(test.n_dates),
        "mean_duration_bars": float(lengths.mean()),
    }
    if judged.any():
        metrics |= {
            "log_likelihood": -float(forecasts.model[judged].mean()),
            "log_likelihood_ewma_filter": -float(forecasts.baseline[judged].mean()),
        }
    if gain is not None:
        metrics["t_predictive_likelihood"] = gain
    regimes = _regimes(rows, forecasts.probabilities, state, bars_per_year)
    volatility = regimes["volatility_annualised"].drop_nulls().to_numpy()
    if len(volatility) > 1 and volatility[0] > 0:
        metrics["volatility_ratio"] = float(volatility[-1] / volatility[0])
    tables = {
        "regimes": regimes,
        "regime_probabilities": _over_time(rows, forecasts.probabilities),
        "transitions": _transitions(rows, state, forecasts.fold, k),
        "likelihood_per_year": _per_year(rows, forecasts, judged),
    }
    gate = MARKET_REGIME.row("quality.predictive_likelihood", gain, note)
    plausible = plausibility.mean_gain(
        (forecasts.baseline - forecasts.model)[judged], rows.t0[judged], 1
    ).row(PLAUSIBLE_LIKELIHOOD, "the gain in nats per bar over the rival")
    return Evaluation(
        metrics, (gate, plausible), {n: table for n, table in tables.items() if len(table)}
    )


def _run_lengths(rows: LabelledRows, state: NDArray[np.intp], fold: NDArray[np.int64]) -> Array:
    """Return the length in bars of each stay in a state."""
    runs = [
        len(run)
        for path in state_paths(rows, state, fold)
        for run in np.split(path, np.flatnonzero(np.diff(path) != 0) + 1)
    ]
    return np.asarray(runs, dtype=np.float64)


# Tables ----------------------------------------------------------------------------------------


def _regimes(
    rows: LabelledRows, p: Array, state: NDArray[np.intp], bars_per_year: float
) -> pl.DataFrame:
    """Return per regime the share of rows and what the next bar did after it, annualised.

    Columns: regime, share, volatility_annualised, mean_return_annualised (null where no row was
    ever in it), n_rows.
    """
    names, lines = regime_names(p.shape[1]), []
    for k, name in enumerate(names):
        after = rows.y[state == k]
        moments: tuple[float | None, float | None] = (None, None)
        if len(after):
            moments = (float(after.std()) * bars_per_year**0.5, float(after.mean()) * bars_per_year)
        lines.append((name, len(after) / len(state), *moments, len(after)))
    schema = {
        "regime": pl.String(),
        "share": pl.Float64(),
        "volatility_annualised": pl.Float64(),
        "mean_return_annualised": pl.Float64(),
        "n_rows": pl.Int64(),
    }
    return pl.DataFrame(lines, schema=schema, orient="row")


def _over_time(rows: LabelledRows, p: Array) -> pl.DataFrame:
    """Return per date the mean filtered probability of each regime over symbols."""
    columns = {name: p[:, k] for k, name in enumerate(regime_names(p.shape[1]))}
    frame = pl.DataFrame({"timestamp": pl.Series(rows.t0).cast(TIMESTAMP)} | columns)
    return frame.group_by("timestamp").agg(pl.col(*columns).mean()).sort("timestamp")


def _transitions(
    rows: LabelledRows, state: NDArray[np.intp], fold: NDArray[np.int64], k: int
) -> pl.DataFrame:
    """Return the shares of regimes (columns) on the bar after each regime (`regime`)."""
    counts = np.zeros((k, k))
    for path in state_paths(rows, state, fold):
        np.add.at(counts, (path[:-1], path[1:]), 1.0)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    names = regime_names(k)
    return pl.DataFrame({"regime": names} | {name: share[:, j] for j, name in enumerate(names)})


def _per_year(
    rows: LabelledRows, forecasts: RegimeForecasts, judged: NDArray[np.bool_]
) -> pl.DataFrame:
    """Return per year and model the mean log density: year, model, log_likelihood."""
    frame = pl.DataFrame(
        {
            "timestamp": pl.Series(rows.t0[judged]).cast(TIMESTAMP),
            "regimes": -forecasts.model[judged],
            "ewma_filter": -forecasts.baseline[judged],
        }
    )
    means = frame.group_by(pl.col("timestamp").dt.year().alias("year")).agg(
        pl.col("regimes", "ewma_filter").mean()
    )
    long = means.unpivot(index="year", variable_name="model", value_name="log_likelihood")
    return long.sort("year", "model")
