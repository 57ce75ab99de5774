"""Combinatorial paths: the same recipe through the whole history in several ways.

Walk-forward is one path, and its Sharpe ratio is one draw. Combinatorial purged folds (AFML ch. 12)
give several paths; their spread shows how much of a result comes from the order of the years. It is
reported beside the evidence, never instead of it: training rows follow test blocks here, which no
version can do.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines import progress
from pipelines.method.folds import CombinatorialFolds, Fold, combinatorial, purge
from pipelines.method.metrics import bars_per_year
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.statistics import mean_per_date, sharpe_ratio
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe, pool
from pipelines.recipes.score import out_of_fold_losses
from registry.decoder import Decoder
from registry.errors import ParameterError, TooLittleHistoryError

EXPECTED = "two numbers 'groups,tested' such as 6,2, or nothing"


def parse_paths(text: str) -> tuple[int, int] | None:
    """Return groups and tested groups of `"6,2"`; None when empty.

    Raises:
        ParameterError: something else.
    """
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ParameterError("paths", text, EXPECTED)
    return int(parts[0]), int(parts[1])


@dataclass(frozen=True, slots=True)
class PathJudgement:
    """`table`: one line per path; `metrics`: their spread, for MLflow."""

    table: pl.DataFrame
    metrics: dict[str, float]


def judge_paths(recipe: Recipe, dataset: Dataset, text: str, interval: str) -> PathJudgement | None:
    """Fit the combinatorial folds of a recipe, and judge each path; None without `text`.

    Every fold costs a fit of its own and two on halves of its training rows, from whose
    predictions for each other its decoder is fitted. The embargo is the look-back of the inputs.

    Raises:
        ParameterError: groups that cannot be read or make no split, or inputs without paths.
        TooLittleHistoryError: a fold without training rows after purge and embargo.
    """
    if (wanted := parse_paths(text)) is None:
        return None
    kind = kind_of(recipe.template)
    if (embargo := kind.look_back(recipe)) is None:
        expected = f"nothing: {recipe.template.name} is over {kind.name}, which have no paths"
        raise ParameterError("paths", text, expected)
    cut = combinatorial(dataset.rows, *wanted, embargo)
    folds = progress.steps(cut.folds, "fold")
    predicted = [_predict(recipe, dataset.rows, fold, embargo) for fold in folds]
    decoders = {fold.number: p.decoder for fold, p in zip(cut.folds, predicted, strict=True)}
    lines = []
    for number, path in enumerate(cut.paths):
        oof = _follow(dataset.rows, cut, path, predicted)
        lines.append({"path": number} | _line(recipe, dataset, oof, decoders, interval))
    table = pl.DataFrame(lines)
    return PathJudgement(table, _spread(table))


@dataclass(frozen=True, slots=True)
class _Predicted:
    """Scores (n_test, n_scores) of a fold's test rows, and the decoder that belongs to them."""

    scores: NDArray[np.float32]
    decoder: Decoder


def _predict(recipe: Recipe, rows: LabelledRows, fold: Fold, embargo: int) -> _Predicted:
    training = rows.take(fold.train)
    scores = recipe.fit(training).predict(rows.X[fold.test])
    decoder = recipe.fit_decoder(_cross_fitted(recipe, training, embargo), training)
    return _Predicted(scores, decoder)


def _cross_fitted(recipe: Recipe, training: LabelledRows, embargo: int) -> OutOfFold:
    """Predict each half of the training rows by a fit on the other half, purged from it."""
    times = np.unique(training.t0)
    is_late = training.t0 >= times[len(times) // 2]
    parts = []
    for number, half in enumerate((~is_late, is_late)):
        keep = purge(training.t0, training.t1, np.flatnonzero(half), embargo)
        if not keep.any():
            hint = "use fewer groups or inputs with a shorter look-back"
            raise TooLittleHistoryError("half of a combinatorial fold", 1, 0, hint)
        test = training.take(half)
        scores = recipe.fit(training.take(keep)).predict(test.X)
        parts.append(OutOfFold(test, scores, np.full(len(test), number, dtype=np.int64)))
    return pool(parts, training)


def _follow(
    rows: LabelledRows, cut: CombinatorialFolds, path: NDArray[np.intp], predicted: list[_Predicted]
) -> OutOfFold:
    """Return every row once, each group predicted by the fold that the path names."""
    parts = []
    for group, number in enumerate(path):
        test = cut.folds[number].test
        mine = cut.group[test] == group
        part, scores = rows.take(test[mine]), predicted[number].scores[mine]
        parts.append(OutOfFold(part, scores, np.full(len(part), number, dtype=np.int64)))
    return pool(parts, rows)


def _line(
    recipe: Recipe,
    dataset: Dataset,
    oof: OutOfFold,
    decoders: dict[int, Decoder],
    interval: str,
) -> dict[str, float]:
    """Return mean loss and baseline loss per date of a path, and the Sharpe ratios of its returns.

    Sharpe ratios are annualised; a template without actions has none.
    """
    template, spec = recipe.template, dataset.label_spec
    loss, baseline = out_of_fold_losses(template, oof, decoders)
    line = {
        "loss": float(mean_per_date(loss, oof.rows.t0).mean()),
        "baseline_loss": float(mean_per_date(baseline, oof.rows.t0).mean()),
    }
    found = template.evaluate(oof, decoders, spec, interval)
    if found.returns is not None:
        per_year = bars_per_year(oof.rows.t0, oof.rows.symbol)
        line["active_sharpe"] = sharpe_ratio(found.returns) * per_year**0.5
    if "net_sharpe_1x" in found.metrics:
        line["net_sharpe"] = found.metrics["net_sharpe_1x"]
    return line


def _spread(table: pl.DataFrame) -> dict[str, float]:
    gain = table["baseline_loss"].to_numpy() - table["loss"].to_numpy()
    found = {"path_loss_gain_min": float(gain.min())}
    if "active_sharpe" in table.columns:
        sharpe = table["active_sharpe"].to_numpy()
        found |= {
            "path_sharpe_mean": float(sharpe.mean()),
            "path_sharpe_std": float(sharpe.std(ddof=1)) if len(sharpe) > 1 else 0.0,
            "path_sharpe_min": float(sharpe.min()),
            "path_sharpe_max": float(sharpe.max()),
        }
    return found
