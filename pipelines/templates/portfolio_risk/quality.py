"""Judgement of `portfolio_risk`: forecasts of every day, made out of fold, against what was lost.

Horizons of several bars overlap, and so would their hits: every test here uses each h-th date. A
test of hits that would seldom find twice the promised rate opens no gate: too few dates read `not
computed`, with the number that is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.method import plausibility
from pipelines.method import risk_backtests as backtests
from pipelines.method.mean_tests import diebold_mariano
from pipelines.method.risk_measures import expected_shortfall, value_at_risk
from pipelines.method.rows import OutOfFold
from pipelines.templates import Evaluation
from registry.contract import Json
from registry.gates import PLAUSIBLE_PINBALL, PORTFOLIO_RISK, GateRow

Array = NDArray[np.float64]

Z2_SIGNIFICANCE = SIGNIFICANCE = 0.01
LIGHT_DATES = 250
LIGHTS = {"green": 0.0, "yellow": 1.0, "red": 2.0}
REPORTED = (0.95, 0.99)


@dataclass(frozen=True, slots=True)
class _Forecasts:
    """One entry per date that is judged, (n,) each."""

    t0: NDArray[np.int64]
    losses: Array
    scenarios: NDArray[np.float32]
    var: Array
    shortfall: Array
    level: float

    @property
    def tail(self) -> float:
        return 1 - self.level

    @property
    def hits(self) -> NDArray[np.bool_]:
        return np.asarray(self.losses > self.var)

    @classmethod
    def of(cls, oof: OutOfFold, level: float, step: int) -> "_Forecasts":
        chosen = oof.take(np.arange(0, len(oof.rows), step))
        return cls(
            chosen.rows.t0,
            -chosen.rows.y,
            chosen.scores,
            value_at_risk(chosen.scores, level),
            expected_shortfall(chosen.scores, level),
            level,
        )


def judge(oof: OutOfFold, spec: Mapping[str, Json]) -> Evaluation:
    """Return metrics, gates and tables of pooled out-of-fold losses of the judged portfolio."""
    level, horizon = cast(float, spec["level"]), cast(int, spec["horizon_bars"])
    judged = _Forecasts.of(oof, level, horizon)
    metrics, gates = _tests(judged)
    for reported in REPORTED:
        metrics |= _at(_Forecasts.of(oof, reported, horizon))
    metrics |= _against_rivals(oof, level, horizon)
    tables = {"var_over_time": _over_time(judged), "hits_per_year": _per_year(judged)}
    return Evaluation(metrics, (*gates, _plausible(oof, level, horizon)), tables)


def _tests(judged: _Forecasts) -> tuple[dict[str, float], tuple[GateRow, ...]]:
    hits, tail = newest_tens(judged.hits), judged.tail
    number = backtests.kupiec(hits, tail)
    alone = backtests.independence(hits)
    both = backtests.conditional_coverage_p(hits, tail)
    depth = backtests.z2(judged.losses, judged.var, judged.shortfall, tail)
    critical = backtests.z2_critical(judged.scenarios, tail, Z2_SIGNIFICANCE)
    newest = hits[-LIGHT_DATES:]
    light = backtests.traffic_light(int(newest.sum()), len(newest), tail)
    gates = (
        _of_hits("quality.kupiec", number.p_value, hits, tail),
        _of_hits("quality.conditional_coverage", both, hits, tail),
        GateRow("quality.z2", depth, ">", critical, "limit: 1 % critical value, simulated"),
    )
    metrics = {
        "judged_level": judged.level,
        "hit_rate": float(judged.hits.mean()),
        "kupiec_p": number.p_value,
        "independence_p": alone.p_value,
        "conditional_coverage_p": both,
        "z2": depth,
        "z2_critical": critical,
        "traffic_light": LIGHTS[light],
        "n_oof_dates": float(len(judged.hits)),
    }
    return metrics, gates


def newest_tens(hits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the newest hits, as many as make full tens: that is how their power is counted."""
    return hits[len(hits) % backtests.TEN :]


def _of_hits(gate: str, p_value: float, hits: NDArray[np.bool_], tail: float) -> GateRow:
    """Return a gate row about hits; not computed where too few dates leave it without power."""
    n, needed = len(hits), backtests.dates_needed(tail, SIGNIFICANCE)
    note = f"p-value; {n} dates, {int(hits.sum())} hits, {tail * n:.1f} expected"
    found = backtests.power(n, tail, SIGNIFICANCE)
    if n >= needed:
        against = f"finds twice the promised rate with probability {found:.2f}"
        return PORTFOLIO_RISK.row(gate, p_value, f"{note}; {against}")
    why = (
        f"{needed - n} more dates are needed ({needed} in all): {n} find twice the promised rate "
        f"of {tail:g} with probability {found:.2f}, {backtests.LEAST_POWER:g} is needed; {note}"
    )
    return PORTFOLIO_RISK.row(gate, None, f"{why} {p_value:.4f}")


def _at(forecasts: _Forecasts) -> dict[str, float]:
    """Return the metrics at a usual level, which are reported beside the judged level."""
    percent = round(100 * forecasts.level)
    pinball = backtests.pinball_loss(forecasts.losses, forecasts.var, forecasts.level)
    return {
        f"hit_rate_{percent}": float(forecasts.hits.mean()),
        f"kupiec_p_{percent}": backtests.kupiec(forecasts.hits, forecasts.tail).p_value,
        f"pinball_{percent}": float(pinball.mean()),
        f"mean_var_{percent}": float(forecasts.var.mean()),
    }


def _plausible(oof: OutOfFold, level: float, horizon: int) -> GateRow:
    """Return the gate `plausibility.pinball`: the share of historical simulation's loss saved.

    Knowing the next day's variance exactly would save about a third; knowing its loss, all.
    """
    theirs_var = oof.rows.context["historical_var"]
    there = np.isfinite(theirs_var)
    if not there.any():
        return PLAUSIBLE_PINBALL.absent("historical simulation has no forecast to compare with")
    losses, t0 = -oof.rows.y[there], oof.rows.t0[there]
    ours = backtests.pinball_loss(losses, value_at_risk(oof.scores[there], level), level)
    theirs = backtests.pinball_loss(losses, theirs_var[there], level)
    saved = plausibility.share_explained(ours, theirs, t0, horizon)
    return saved.row(PLAUSIBLE_PINBALL, "the share of historical simulation's pinball loss saved")


def _against_rivals(oof: OutOfFold, level: float, horizon: int) -> dict[str, float]:
    """Return mean differences of the pinball loss to both baselines, with Diebold-Mariano t."""
    losses = -oof.rows.y
    ours = backtests.pinball_loss(losses, value_at_risk(oof.scores, level), level)
    metrics = {"pinball": float(ours.mean())}
    for rival in ("historical", "ewma_normal"):
        theirs = backtests.pinball_loss(losses, oof.rows.context[f"{rival}_var"], level)
        there = np.isfinite(theirs)
        if not there.any():
            continue
        metrics[f"pinball_{rival}"] = float(theirs[there].mean())
        t = diebold_mariano(ours[there], theirs[there], oof.rows.t0[there], horizon).z
        if t is not None:
            metrics[f"dm_t_{rival}"] = t
    return metrics


def _over_time(judged: _Forecasts) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": pl.Series(judged.t0).cast(TIMESTAMP),
            "loss": judged.losses,
            "var": judged.var,
            "shortfall": judged.shortfall,
            "hit": judged.hits,
        }
    )


def _per_year(judged: _Forecasts) -> pl.DataFrame:
    """Return year, n_dates, n_hits, hit_rate and the rate that was promised."""
    grouped = _over_time(judged).group_by(pl.col("timestamp").dt.year().alias("year"))
    counted = grouped.agg(
        pl.len().alias("n_dates"),
        pl.col("hit").sum().alias("n_hits"),
        pl.col("hit").mean().alias("hit_rate"),
    )
    return counted.sort("year").with_columns(pl.lit(judged.tail).alias("expected_rate"))
