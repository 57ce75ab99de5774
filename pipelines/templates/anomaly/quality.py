"""How anomaly alarms are judged: whether the stated rate of false alarms holds on later rows.

Nobody says which rows were truly anomalous, so every alarm counts as a false one: a detector that
keeps its promise flags about the stated share of rows. Two things make the rate less certain than
the number of rows suggests. Alarms come in clusters (a crisis is not one day) and on many symbols
at once. And the threshold is an estimate, from a limited number of earlier rows. `effective_rows`
counts the independent rows that would leave the rate as uncertain as both do; the binomial interval
is for that number.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import plausibility
from pipelines.method.mean_tests import diebold_mariano
from pipelines.method.rows import LabelledRows
from pipelines.method.statistics import newey_west
from pipelines.templates import Evaluation
from registry.gates import PLAUSIBLE_MOVES, GateRow

Array = NDArray[np.float64]

CLUSTER_LAGS = 63
"""Dates over which alarms may cluster: a quarter of daily bars."""
WIDEST = 3.0
"""With few independent rows the interval is wide. A rate more than three times the stated one, or
less than a third of it, breaks the promise anyway."""
N_LISTED = 20


@dataclass(frozen=True, slots=True)
class AnomalyForecasts:
    """The forecast and the outcome of each row; (n,) each.

    `p_value` is NaN on rows whose fold had no threshold; `n_earlier` rows made it. `loss` and
    `baseline` are log scores of `move`, the next bar's return in EWMA sigmas. `rate` is the stated
    rate of false alarms.
    """

    p_value: Array
    n_earlier: Array
    loss: Array
    baseline: Array
    move: Array
    rate: float


def judge(rows: LabelledRows, forecasts: AnomalyForecasts) -> Evaluation:
    """Return metrics, the gate and tables."""
    judged = np.isfinite(forecasts.p_value)
    alarm = forecasts.p_value[judged] <= forecasts.rate
    n_rows = effective_rows(alarm, rows.t0[judged], forecasts.n_earlier[judged])
    metrics, gate = _judge_rate(alarm, n_rows, forecasts.rate)
    t = diebold_mariano(forecasts.loss, forecasts.baseline, rows.t0).z
    metrics |= {
        "log_score": float(forecasts.loss.mean()),
        "log_score_one_variance": float(forecasts.baseline.mean()),
    }
    if t is not None:
        metrics["t_log_score"] = t
    if alarm.any():
        squares = forecasts.move[judged] ** 2
        metrics["alarm_move_ratio"] = math.sqrt(float(squares[alarm].mean() / squares.mean()))
    frame = _frame(rows, forecasts).filter(pl.col("p_value").is_not_nan())
    tables = {
        "alarms_per_year": _per_year(frame, forecasts.rate),
        "alarms_over_time": _over_time(frame, forecasts.rate),
        "most_unusual": frame.sort("p_value", "timestamp").head(N_LISTED),
    }
    nats = (forecasts.baseline - forecasts.loss) / 2  # ln v + z^2/v is twice minus a log density
    gain = plausibility.mean_gain(nats[judged], rows.t0[judged], 1)
    plausible = gain.row(PLAUSIBLE_MOVES, "the gain in nats per bar over one variance")
    return Evaluation(
        metrics, (gate, plausible), {n: table for n, table in tables.items() if len(table)}
    )


def _judge_rate(
    alarm: NDArray[np.bool_], independent: int, rate: float
) -> tuple[dict[str, float], GateRow]:
    n = len(alarm)
    if not n:
        why = f"the rate needs {math.ceil(1 / rate) - 1} earlier out-of-fold rows; no fold has them"
        return {"n_oof_rows": 0.0}, GateRow(
            "quality.false_alarm_rate", None, "between", (0.0, 0.0), why
        )
    plain, low_high = binomial_interval(n, rate), binomial_interval(independent, rate)
    low, high = max(low_high[0], rate / WIDEST), min(low_high[1], rate * WIDEST)
    found = float(alarm.mean())
    note = (
        f"{int(alarm.sum())} alarms on {n} rows, which count as {independent} independent rows; "
        f"95 % binomial interval for that number, at most {WIDEST:g} times the rate either way "
        f"(it would be {plain[0]:.4g} to {plain[1]:.4g} if all rows were independent)"
    )
    metrics = {
        "false_alarm_rate": found,
        "false_alarm_rate_stated": rate,
        "false_alarm_rate_lower": low,
        "false_alarm_rate_upper": high,
        "effective_rows": float(independent),
        "n_oof_rows": float(n),
    }
    return metrics, GateRow("quality.false_alarm_rate", found, "between", (low, high), note)


def effective_rows(alarm: NDArray[np.bool_], t0: NDArray[np.int64], n_earlier: Array) -> int:
    """Return the number of independent rows that would leave the rate as uncertain as it is.

    Alarms: n divided by the ratio of their mean's Newey-West variance, over dates, to that of
    independent rows; at most n, and n where every row or none has an alarm. Threshold: the rate of
    a conformal threshold from m rows varies like that of m further rows (Vovk 2012), and those
    rows cluster alike. 1 / rows add up.

    Args:
        n_earlier: (n,) rows that made each row's threshold.
    """
    if not (n := len(alarm)):
        return 0
    share = float(alarm.mean())
    _, date = np.unique(t0, return_inverse=True)
    centred = np.bincount(date, alarm - share).astype(np.float64)
    independent = share * (1 - share) * n
    clustered = newey_west(centred, CLUSTER_LAGS) * len(centred)
    inflation = max(clustered / independent, 1.0) if independent else 1.0
    uncertainty = inflation * (1 / n + float((1 / n_earlier).mean()))
    return max(1, round(1 / uncertainty))


def binomial_interval(n: int, rate: float) -> tuple[float, float]:
    """Return the shares k/n between the 2.5 % and the 97.5 % quantile of Binomial(n, rate).

    Quantiles are the smallest k with P(X <= k) at least that probability, as SciPy's `ppf`.
    """
    k = np.arange(n + 1)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1.0)) + math.log(rate / (1 - rate))
    mass = np.exp(n * math.log1p(-rate) + np.concatenate(([0.0], np.cumsum(steps))))
    total = np.cumsum(mass)
    low, high = np.searchsorted(total, (0.025, 0.975))
    return float(low / n), float(min(high, n) / n)


# Tables ----------------------------------------------------------------------------------------


def _frame(rows: LabelledRows, forecasts: AnomalyForecasts) -> pl.DataFrame:
    """Return one line per row: symbol, timestamp, p_value, next_move (in EWMA sigmas)."""
    names = pl.Series("symbol", list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    return pl.DataFrame(
        {
            "symbol": names,
            "timestamp": pl.Series(rows.t0).cast(TIMESTAMP),
            "p_value": forecasts.p_value,
            "next_move": forecasts.move,
        }
    )


def _per_year(frame: pl.DataFrame, rate: float) -> pl.DataFrame:
    """Return per year: rate of alarms, the stated one, n_rows."""
    return (
        frame.group_by(pl.col("timestamp").dt.year().alias("year"))
        .agg((pl.col("p_value") <= rate).mean().alias("rate"), pl.len().alias("n_rows"))
        .with_columns(pl.lit(rate).alias("stated"))
        .sort("year")
    )


def _over_time(frame: pl.DataFrame, rate: float) -> pl.DataFrame:
    """Return per date the share of symbols with an alarm and the lowest p-value."""
    return (
        frame.group_by("timestamp")
        .agg(
            (pl.col("p_value") <= rate).mean().alias("share"),
            pl.col("p_value").min().alias("lowest_p_value"),
        )
        .sort("timestamp")
    )
