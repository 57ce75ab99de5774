"""How forecasts of classes and of numbers about single rows are judged. Numpy and polars only.

Used by the templates whose rows stand alone (`sentiment`, `tabular`). A proper score is compared,
on pooled out-of-fold rows, with that of the forecast that knows only the training slice's shares
(or mean), per time (`pipelines/method/mean_tests.py`). The gate is `quality.skill`.
`quality.loss_vs_baseline` stands beside it, as what the realised loss is compared with later; all
other numbers are for reading.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method import metrics, plausibility
from pipelines.method.mean_tests import diebold_mariano
from pipelines.method.rows import LabelledRows
from pipelines.method.statistics import mean_per_date
from pipelines.templates import Evaluation
from registry.gates import EXCESS, PLAUSIBLE_AUC, PLAUSIBLE_TABLE_R2, SKILL, GateRow

Array = NDArray[np.float64]

LEAST_FOR_ECE = 30
"""Fewest rows for a calibration error."""


def judge_classes(
    rows: LabelledRows,
    probabilities: Array,
    prior: Array,
    classes: Sequence[str],
    horizon: int,
) -> Evaluation:
    """Judge class probabilities against the prior.

    Args:
        rows: out-of-fold rows; `y` are class numbers.
        probabilities, prior: (n, k), calibrated by earlier folds; shares of the training slice.
        horizon: times until a label is known.
    """
    loss, rival = metrics.log_loss(probabilities, rows.y), metrics.log_loss(prior, rows.y)
    chosen = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    hit = (chosen == rows.y).astype(np.float64)
    skill, gate = _skill(rows, loss, rival, horizon, "log loss minus that of the class shares")
    excess = _excess(rows, loss - rival)
    found = skill | {
        "log_loss": float(loss.mean()),
        "log_loss_prior": float(rival.mean()),
        "brier": float(metrics.brier(probabilities, rows.y).mean()),
        "accuracy": float(hit.mean()),
        "accuracy_prior": float((prior.argmax(axis=1) == rows.y).mean()),
    }
    per_class = _per_class(rows.y, probabilities, classes)
    if (areas := per_class["auc"].drop_nulls()).len():
        found["auc"] = float(areas.to_numpy().mean())
    tables: dict[str, pl.DataFrame] = {
        "confusion": metrics.confusion(rows.y, chosen.astype(np.float64), tuple(classes)),
        "per_class": per_class,
    }
    if len(rows) >= LEAST_FOR_ECE:
        error = metrics.calibration_error_interval(confidence, hit, rows.t0)
        found |= {"ece": error.estimate, "ece_lower": error.lower, "ece_upper": error.upper}
        tables["reliability"] = metrics.reliability_table(confidence, hit)
    return Evaluation(found, (gate, excess), tables)


def plausible_classes(
    rows: LabelledRows, probabilities: Array, classes: Sequence[str], horizon: int
) -> GateRow:
    """Return the gate `plausibility.auc`: the best told class against all others.

    Of two classes the second stands for both.
    """
    numbers = range(len(classes)) if len(classes) > 2 else (1,)
    found: list[tuple[float, str, plausibility.Measure]] = []
    for k in numbers:
        is_class = rows.y == k
        area = plausibility.area_under_curve(probabilities[:, k], is_class, rows.t0, horizon)
        if area is not None:
            lower = -np.inf if area.lower is None else area.lower
            found.append((lower, classes[k], area))
    if not found:
        return PLAUSIBLE_AUC.absent("only one class came")
    _, name, best = max(found, key=lambda one: one[0])
    return best.row(PLAUSIBLE_AUC, f"the area under the ROC curve of class {name!r}")


def plausible_numbers(rows: LabelledRows, forecast: Array, mean: Array, horizon: int) -> GateRow:
    """Return the gate `plausibility.r2`: squared error against that of the training mean."""
    losses = (rows.y - forecast) ** 2, (rows.y - mean) ** 2
    explained = plausibility.share_explained(*losses, rows.t0, horizon)
    return explained.row(PLAUSIBLE_TABLE_R2, "R2 out of fold")


def judge_numbers(
    rows: LabelledRows,
    forecast: Array,
    mean: Array,
    bounds: tuple[Array, Array],
    level: float,
    horizon: int,
) -> Evaluation:
    """Judge forecasts of a number against the mean of the training slice.

    Args:
        forecast, mean: (n,), in the target's unit.
        bounds: lower and upper end of each row's interval, (n,) each; NaN where there was none.
        level: share of rows that the intervals promise to hold.
    """
    loss, rival = (rows.y - forecast) ** 2, (rows.y - mean) ** 2
    skill, gate = _skill(rows, loss, rival, horizon, "squared error minus that of the mean")
    excess = _excess(rows, (loss - rival) / rows.context["scale"] ** 2)
    total = float(rival.mean())
    found = skill | {
        "rmse": float(np.sqrt(loss.mean())),
        "rmse_mean": float(np.sqrt(total)),
        "mae": float(np.abs(rows.y - forecast).mean()),
        "r2_oos": 1 - float(loss.mean()) / total if total > 0 else 0.0,
        "bias": float((forecast - rows.y).mean()),
    }
    lower, upper = bounds
    has_bounds = np.isfinite(lower) & np.isfinite(upper)
    if has_bounds.any():
        inside = (rows.y >= lower) & (rows.y <= upper)
        found |= {
            "interval_coverage": float(inside[has_bounds].mean()),
            "interval_level": level,
            "interval_width": float((upper - lower)[has_bounds].mean()),
        }
    return Evaluation(found, (gate, excess), {"by_forecast": _by_forecast(rows.y, forecast)})


def _skill(
    rows: LabelledRows, loss: Array, rival: Array, horizon: int, what: str
) -> tuple[dict[str, float], GateRow]:
    test = diebold_mariano(loss, rival, rows.t0, horizon)
    note = f"{what}, per time: {test.note}; {len(rows)} out-of-fold rows"
    found = {
        "loss_vs_baseline": float(mean_per_date(loss - rival, rows.t0).mean()),
        "n_oof_rows": float(len(rows)),
        "n_oof_times": float(test.n_dates),
    }
    gate = SKILL.row(test.z, note)
    return found if test.z is None else found | {"t_skill": test.z}, gate


def _excess(rows: LabelledRows, excess: Array) -> GateRow:
    """Return the mean of loss minus baseline loss, in the unit of `Template.loss`."""
    return EXCESS.row(float(mean_per_date(excess, rows.t0).mean()), "mean per time, out of fold")


def _per_class(y: Array, probabilities: Array, classes: Sequence[str]) -> pl.DataFrame:
    """Return per class: n_rows, precision, recall, f1, area under the ROC curve, mean forecast.

    Null where a class was never forecast (precision) or never happened (recall, area).
    """
    chosen = probabilities.argmax(axis=1)
    lines = []
    for number, name in enumerate(classes):
        is_class, said = y == number, chosen == number
        right = int((is_class & said).sum())
        precision = right / int(said.sum()) if said.any() else None
        recall = right / int(is_class.sum()) if is_class.any() else None
        f1 = 2 * right / (int(said.sum()) + int(is_class.sum())) if recall is not None else None
        area = metrics.area_under_curve(probabilities[:, number], is_class)
        mean = float(probabilities[:, number].mean())
        lines.append((name, int(is_class.sum()), precision, recall, f1, area, mean))
    schema = {
        "class": pl.String(),
        "n_rows": pl.Int64(),
        "precision": pl.Float64(),
        "recall": pl.Float64(),
        "f1": pl.Float64(),
        "auc": pl.Float64(),
        "mean_probability": pl.Float64(),
    }
    return pl.DataFrame(lines, schema=schema, orient="row")


def _by_forecast(y: Array, forecast: Array) -> pl.DataFrame:
    """Return one line per tenth of the forecasts: means of forecast and of what happened."""
    bins = metrics.equal_mass_bins(forecast, 10)
    count = np.bincount(bins)
    return pl.DataFrame(
        {
            "forecast": np.bincount(bins, forecast) / count,
            "realised": np.bincount(bins, y) / count,
            "n_rows": count,
        }
    )
