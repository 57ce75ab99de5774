"""How return forecasts are judged: against the random walk, which forecasts no return at all.

Squared errors in units of each row's variance are compared by Diebold and Mariano (1995), per date
over symbols. The random walk is nested in the model, so the model's
estimation noise costs it under the null. Clark and West's correction (2007) for that is reported
beside it; the gate takes the uncorrected test, because a forecast that loses to zero is no
forecast. Direction is judged by Pesaran and Timmermann (1992), ranking by information coefficients,
intervals by coverage.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import plausibility
from pipelines.method.coverage import Intervals, judge_coverage
from pipelines.method.information import (
    DECAY_TABLE,
    decay,
    forward_returns,
    information,
    rank_autocorrelation,
)
from pipelines.method.mean_tests import diebold_mariano, mean_test
from pipelines.method.metrics import area_under_curve, block_dates
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.statistics import mean_per_date
from pipelines.templates import Evaluation
from registry.gates import PLAUSIBLE_DIRECTION, PLAUSIBLE_RETURN_R2, RETURN_FORECAST, GateRow

Array = NDArray[np.float64]

GROUPS = 10
"""Groups of equal size by forecast, in the table `forecast_groups`."""


@dataclass(frozen=True, slots=True)
class ReturnForecasts:
    """The forecast and the outcome of each row; (n,) each.

    `forecast`: log return over the horizon. `sigma`: of one bar, known at t0. `scale`: mean
    absolute label of the rows that the forecast's fit learned from.
    """

    forecast: Array
    sigma: Array
    scale: Array


def judge(
    oof: OutOfFold,
    forecasts: ReturnForecasts,
    intervals: Intervals,
    horizon: int,
) -> Evaluation:
    """Return metrics, gates and tables."""
    rows = oof.rows
    errors, gate = _judge_errors(rows, forecasts, horizon)
    covered, coverage_gate, over_time = judge_coverage(intervals, block_dates(horizon))
    matrix = _matrices(rows, forecasts.forecast)
    metrics = (
        errors | _direction(rows, forecasts, horizon) | _information(*matrix, horizon) | covered
    )
    tables = {
        "error_per_year": _per_year(rows, forecasts, horizon),
        "forecast_groups": _groups(rows, forecasts),
        "per_symbol": _per_symbol(rows, forecasts),
        DECAY_TABLE: decay(*matrix),
        "coverage": _coverage(oof.fold, intervals),
        **over_time,
    }
    kept = {name: table for name, table in tables.items() if len(table)}
    return Evaluation(metrics, (gate, replace(coverage_gate, gate="quality.coverage")), kept)


def plausible(
    rows: LabelledRows, forecasts: ReturnForecasts, horizon: int, interval: str
) -> tuple[GateRow, GateRow]:
    """Return the gates `plausibility.r2` and `plausibility.direction`; limits by length of bar."""
    unit = forecasts.sigma * math.sqrt(horizon)
    losses = ((rows.y - forecasts.forecast) / unit) ** 2, (rows.y / unit) ** 2
    explained = plausibility.share_explained(*losses, rows.t0, horizon)
    r2 = explained.row(PLAUSIBLE_RETURN_R2, "R2 out of fold", plausibility.RETURN_R2.of(interval))
    moved = rows.y != 0
    score, up, t0 = (forecasts.forecast / unit)[moved], rows.y[moved] > 0, rows.t0[moved]
    area = plausibility.area_under_curve(score, up, t0, horizon)
    if area is None:
        return r2, PLAUSIBLE_DIRECTION.absent("all returns have one sign")
    what, limit = "the area under the ROC curve of the sign", plausibility.DIRECTION.of(interval)
    return r2, area.row(PLAUSIBLE_DIRECTION, what, limit)


def _judge_errors(
    rows: LabelledRows, forecasts: ReturnForecasts, horizon: int
) -> tuple[dict[str, float], GateRow]:
    error = rows.y - forecasts.forecast
    unit = forecasts.sigma * math.sqrt(horizon)
    model, walk = (error / unit) ** 2, (rows.y / unit) ** 2
    test = diebold_mariano(model, walk, rows.t0, horizon)
    corrected = model - (forecasts.forecast / unit) ** 2
    t_corrected = diebold_mariano(corrected, walk, rows.t0, horizon).z
    note = (
        "Diebold-Mariano of squared errors in variances, per date: "
        f"{test.note}; {len(rows)} out-of-fold rows"
    )
    metrics = {
        "mase": float((np.abs(error) / forecasts.scale).mean()),
        "mase_random_walk": float((np.abs(rows.y) / forecasts.scale).mean()),
        "r2_out_of_fold": 1 - float(model.sum() / walk.sum()),
        "scaled_mse": float(model.mean()),
        "scaled_mse_random_walk": float(walk.mean()),
        "n_oof_rows": float(len(rows)),
        "n_oof_dates": float(test.n_dates),
    }
    ts = {"dm_t_random_walk": test.z, "t_clark_west": t_corrected}
    known = {name: value for name, value in ts.items() if value is not None}
    return metrics | known, RETURN_FORECAST.row("quality.dm_random_walk", test.z, note)


# Direction -------------------------------------------------------------------------------------


def pesaran_timmermann(forecast: Array, realised: Array) -> float | None:
    """Return the statistic of Pesaran and Timmermann (1992), normal when signs are unrelated.

    Takes rows as independent: overlapping labels and symbols that move together inflate it.

    Returns:
        None where one sign never comes, so that nothing can be predicted.
    """
    n = len(realised)
    up, said = float((realised > 0).mean()), float((forecast > 0).mean())
    hit = float(((realised > 0) == (forecast > 0)).mean())
    chance = up * said + (1 - up) * (1 - said)
    spread_up, spread_said = up * (1 - up), said * (1 - said)
    of_hit = chance * (1 - chance) / n
    of_chance = ((2 * up - 1) ** 2 * spread_said + (2 * said - 1) ** 2 * spread_up) / n
    of_chance += 4 * spread_up * spread_said / n**2
    if not spread_up or not spread_said or of_hit <= of_chance:
        return None
    return (hit - chance) / math.sqrt(of_hit - of_chance)


def _direction(rows: LabelledRows, forecasts: ReturnForecasts, horizon: int) -> dict[str, float]:
    """Return the share of right signs, and whether it is more than chance.

    `t_direction` is the t of the covariance of the two signs per date, Pesaran and
    Timmermann's question asked so that dependence over time and symbols counts.
    """
    up, said = (rows.y > 0).astype(np.float64), (forecasts.forecast > 0).astype(np.float64)
    together = mean_per_date((up - up.mean()) * (said - said.mean()), rows.t0)
    found = {
        "pesaran_timmermann": pesaran_timmermann(forecasts.forecast, rows.y),
        "t_direction": mean_test(together, horizon).z,
    }
    moved = rows.y != 0
    scaled = (forecasts.forecast / forecasts.sigma)[moved]
    found["auc_direction"] = area_under_curve(scaled, rows.y[moved] > 0)
    shares = {"hit_rate": float((up == said).mean()), "up_share": float(up.mean())}
    return shares | {name: value for name, value in found.items() if value is not None}


# Ranking ---------------------------------------------------------------------------------------


def _matrices(rows: LabelledRows, forecast: Array) -> tuple[Array, Array]:
    """Return forecast and next interval's return, (n_dates, n_symbols), NaN where no row is."""
    dates, date = np.unique(rows.t0, return_inverse=True)
    shape = (len(dates), len(rows.symbols))
    said, earned = np.full(shape, np.nan), np.full(shape, np.nan)
    said[date, rows.symbol] = forecast
    earned[date, rows.symbol] = rows.outcome["next_return"]
    return said, earned


def _information(said: Array, earned: Array, horizon: int) -> dict[str, float]:
    found = information(said, forward_returns(earned, horizon), horizon)
    if found is None:
        return {}
    named: Mapping[str, float | None] = {
        "ic": found.ic,
        "icir": found.icir,
        "rank_ic": found.rank_ic,
        "rank_icir": found.rank_icir,
        "t_ic": found.ic_t,
        "rank_autocorrelation": rank_autocorrelation(said),
    }
    return {name: value for name, value in named.items() if value is not None}


# Tables ----------------------------------------------------------------------------------------


def _frame(rows: LabelledRows, forecasts: ReturnForecasts) -> pl.DataFrame:
    names = pl.Series("symbol", list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    return pl.DataFrame(
        {
            "symbol": names,
            "timestamp": pl.Series(rows.t0).cast(TIMESTAMP),
            "realised": rows.y,
            "forecast": forecasts.forecast,
            "sigma": forecasts.sigma,
            "scale": forecasts.scale,
        }
    ).with_columns(error=pl.col("realised") - pl.col("forecast"))


def _per_year(rows: LabelledRows, forecasts: ReturnForecasts, horizon: int) -> pl.DataFrame:
    """Return per year and model the mean squared error in variances: year, model, error."""
    variance = pl.col("sigma") ** 2 * horizon
    means = (
        _frame(rows, forecasts)
        .group_by(pl.col("timestamp").dt.year().alias("year"))
        .agg(
            (pl.col("error") ** 2 / variance).mean().alias("forecast"),
            (pl.col("realised") ** 2 / variance).mean().alias("random_walk"),
        )
    )
    long = means.unpivot(index="year", variable_name="model", value_name="error")
    return long.sort("year", "model")


def _groups(rows: LabelledRows, forecasts: ReturnForecasts) -> pl.DataFrame:
    """Return mean forecast and mean realised log return of ten groups of equal size, and n_rows."""
    frame = _frame(rows, forecasts)
    rank = pl.col("forecast").rank("ordinal") - 1
    group = (rank * min(GROUPS, len(frame)) // len(frame)).cast(pl.Int64).alias("group")
    return (
        frame.group_by(group)
        .agg(pl.col("forecast", "realised").mean(), pl.len().alias("n_rows"))
        .sort("group")
    )


def _coverage(fold: NDArray[np.int64], intervals: Intervals) -> pl.DataFrame:
    """Return per fold the share of labels inside the answered interval; null without one."""
    half = intervals.answered["interval"]
    frame = pl.DataFrame({"fold": fold, "half": half, "error": np.abs(intervals.error)})
    inside = pl.when(pl.col("half").is_finite()).then(pl.col("error") <= pl.col("half"))
    return (
        frame.group_by("fold")
        .agg(pl.len().cast(pl.Int64).alias("n_rows"), inside.mean().alias("coverage"))
        .with_columns(pl.lit(intervals.level).alias("nominal"))
        .sort("fold")
    )


def _per_symbol(rows: LabelledRows, forecasts: ReturnForecasts) -> pl.DataFrame:
    return (
        _frame(rows, forecasts)
        .group_by("symbol")
        .agg(
            pl.len().alias("n_rows"),
            (pl.col("error").abs() / pl.col("scale")).mean().alias("mase"),
            (pl.col("realised").abs() / pl.col("scale")).mean().alias("mase_random_walk"),
            ((pl.col("realised") > 0) == (pl.col("forecast") > 0)).mean().alias("hit_rate"),
        )
        .with_columns((pl.col("mase") < pl.col("mase_random_walk")).alias("better"))
        .sort("symbol")
    )
