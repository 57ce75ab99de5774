"""The leaderboard of a study: one line per ended trial, best first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from optuna.trial import FrozenTrial

from pipelines.method.statistics import (
    deflation_hurdle,
    probabilistic_sharpe,
    significance_limit,
)
from pipelines.recipes.trial_family import TrialFamily
from pipelines.tuning.decision import EXPECTED, Decision
from pipelines.tuning.metrics import COSTS, Metric
from pipelines.tuning.served import Limits
from pipelines.tuning.space import ARCHITECTURE, FEATURE_SET, HORIZON, WINDOW
from pipelines.tuning.studies import place_of, point_of, result_of
from pipelines.tuning.verdict import PASSES

SCHEMA = {
    "rank": pl.Int64(),
    "trial": pl.Int64(),
    "state": pl.String(),
    "score": pl.Float64(),
    "gain": pl.Float64(),
    "z": pl.Float64(),
    "deflated_sharpe": pl.Float64(),
    "limit": pl.Float64(),
    "architecture": pl.String(),
    "feature_set": pl.String(),
    "window": pl.Int64(),
    "horizon": pl.Int64(),
    "parameters": pl.String(),
    "folds": pl.Int64(),
    "seconds": pl.Float64(),
    "reason": pl.String(),
}
OF_ALL = {
    "n_trials": pl.Int64(),
    "n_effective_trials": pl.Float64(),
    "pbo": pl.Float64(),
    EXPECTED: pl.Float64(),
}
"""What all trials together say of the choice; the same in every line, null where not known."""
BESIDE = (ARCHITECTURE, FEATURE_SET, WINDOW, HORIZON)
SHORTEST = 6
"""Significant digits of a parameter."""


def leaderboard(
    trials: Sequence[FrozenTrial],
    metrics: Sequence[Metric],
    decision: Decision,
    limits: Limits,
) -> pl.DataFrame:
    """Return the lines: complete trials by score, then those given up, then those that failed.

    `gain` is over the template's baseline; `limit` what z, or the deflated Sharpe ratio, must reach
    as one of all trials of these data. `gap_NAME` is by how much a trial is better than a baseline.
    With further objectives, or limits, there are columns of them; trials beyond a limit come after
    the other complete ones. `OF_ALL` stands beside every score.
    """
    of_returns = decision.recipe.template.is_action
    further = _further(trials, metrics, decision, limits)
    lines = [_line(trial, decision.family, of_returns=of_returns) for trial in trials]
    frame = pl.DataFrame(lines, schema=SCHEMA).hstack(further)
    order = 2 * pl.col("score").is_null().cast(pl.Int8) + (pl.col("state") == "fail").cast(pl.Int8)
    if limits.are_asked:  # not measured is behind one within the limits, not beyond them
        order += (~pl.col("within_limits")).fill_null(False).cast(pl.Int8)
    falls = [False, metrics[0].higher_is_better, False]
    ranked = frame.sort(order, "score", "trial", descending=falls, nulls_last=True)
    of_all = (pl.lit(decision.bias.get(n), kind).alias(n) for n, kind in OF_ALL.items())
    numbered = ranked.with_columns(pl.int_range(1, pl.len() + 1).alias("rank"), *of_all)
    first = list(SCHEMA)[: list(SCHEMA).index("score") + 1]
    return numbered.select(*first, *further.columns, pl.exclude(*first, *further.columns))


def _further(
    trials: Sequence[FrozenTrial], metrics: Sequence[Metric], decision: Decision, limits: Limits
) -> pl.DataFrame:
    """Return the columns that not every study has."""
    results = [result_of(trial) for trial in trials]
    columns: dict[str, list[Any]] = {
        metric.name: [r.get("scores", {}).get(metric.name) for r in results]
        for metric in metrics[1:]
    }
    columns |= {n: [r.get(n) for r in results] for n in COSTS if any(n in r for r in results)}
    if limits.are_asked:
        columns["within_limits"] = [limits.hold(r) if COSTS[0] in r else None for r in results]
    if len(metrics) > 1:
        front = {trial.number for trial in decision.front}
        columns["front"] = [trial.number in front for trial in trials]
    gaps = dict.fromkeys(name for r in results for name in r.get("gaps", {}))
    columns |= {f"gap_{n}": [r.get("gaps", {}).get(n) for r in results] for n in gaps}
    kinds = {"within_limits": pl.Boolean(), "front": pl.Boolean()}
    schema = {name: kinds.get(name, pl.Float64()) for name in columns}
    return pl.DataFrame(columns, schema=schema)


def _line(trial: FrozenTrial, family: TrialFamily, *, of_returns: bool) -> dict[str, Any]:
    deflated, limit = _deflated(result_of(trial), family), PASSES
    if not of_returns:
        deflated, limit = None, significance_limit(family.n_trials)
    return {"rank": 0, "deflated_sharpe": deflated, "limit": limit, **line_of(trial)}


def line_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what one trial says by itself: the columns that need no other trial."""
    point, result = point_of(trial), result_of(trial)
    return {
        "trial": place_of(trial) + 1,
        "state": trial.state.name.lower(),
        "score": result.get("score"),
        "gain": result.get("gain"),
        "z": result.get("z"),
        "architecture": point[ARCHITECTURE],
        "feature_set": result.get("feature_set"),
        "window": result.get("window"),
        "horizon": result.get("horizon_bars"),
        "parameters": _shown(point),
        "folds": len(result.get("fold_losses", ())),
        "seconds": result.get("seconds"),
        "reason": result.get("reason", ""),
    }


def _deflated(result: Mapping[str, Any], family: TrialFamily) -> float | None:
    """Return the deflated Sharpe ratio of a trial by the moments that it left."""
    n = int(result.get("n_times", 0))
    if "score" not in result or n < 4:
        return None
    hurdle = deflation_hurdle(n, family.n_trials, family.sharpe_per_period)
    return probabilistic_sharpe(result["gain"], n, result["skew"], result["kurt"], hurdle)


def _shown(point: Mapping[str, Any]) -> str:
    own = {k.partition(".")[2]: v for k, v in point.items() if k not in BESIDE}
    return ", ".join(f"{name} {_number(value)}" for name, value in own.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{SHORTEST}g}"
    return value if isinstance(value, str) else json.dumps(value)
