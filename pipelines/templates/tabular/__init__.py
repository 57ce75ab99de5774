"""Template `tabular`: a column of any table, as a class or as a number, from the other columns.

The rows' time decides what is known when: folds walk forward and are never shuffled. The type of
each column (number, boolean, date, category) is fitted on the rows before the first test fold and
stands in the label spec. Classes are judged by log loss against the class shares of the training
slice, numbers by squared error against its mean (docs/templates/tabular.md).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Objective
from pipelines.architectures.hyperparameters import Choice, Space, Text
from pipelines.data.tables.leaks import refuse_leaks
from pipelines.data.tables.table_columns import encoded, typed
from pipelines.data.tables.table_target import (
    CLASSIFICATION,
    REGRESSION,
    class_names,
    fit_target,
    read_target,
)
from pipelines.method.metrics import log_loss
from pipelines.method.rows import LabelledRows, OutOfFold, known_to
from pipelines.method.statistics import conformal_quantile
from pipelines.templates import Arrays, Evaluation, Template
from pipelines.templates.answer_frames import Types, types_of
from pipelines.templates.classes.decoder import (
    by_fold,
    calibrated,
    fit_class_decoder,
    prior_of,
    shares,
)
from pipelines.templates.classes.quality import (
    judge_classes,
    judge_numbers,
    plausible_classes,
    plausible_numbers,
)
from pipelines.templates.tabular.answers import (
    TabularAnswer,
    TabularClassAnswer,
    TabularNumberAnswer,
    class_frame,
    number_frame,
    of_class,
    of_number,
)
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError
from registry.gates import EXCESS, PLAUSIBLE_AUC, PLAUSIBLE_TABLE_R2

Array = NDArray[np.float64]

LEVEL = 0.9

OPTIONS: Space = {
    "target": Text(),
    "task": Choice("auto", ("auto", CLASSIFICATION, REGRESSION)),
    "time": Text(),
    "label_end": Text(),
    "drop": Text(),
}


class Tabular(Template):
    """A class or a number from the columns of a table."""

    name = "tabular"
    inputs = "table"
    feature_set = ""
    """The layout that fits the architecture; `feature_set=` may name another."""
    architectures: tuple[str, ...] = (
        "xgboost",
        "lightgbm",
        "catboost",
        "random_forest",
        "gradient_boosting",
        "logistic",
        "ridge",
        "lasso",
        "elastic_net",
        "mlp",
    )
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = MappingProxyType({})
    answer_kinds = (TabularClassAnswer, TabularNumberAnswer)
    options: ClassVar[Space] = OPTIONS
    horizon_bars = 0
    loss_margin = 0.002
    search_metrics: ClassVar[Mapping[str, str]] = {
        "loss": "loss",
        "log_loss": "log_loss",
        "brier": "brier",
        "auc": "auc",
        "rmse": "rmse",
        "mae": "mae",
    }
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "log_loss_prior": ("log_loss_prior", "log_loss"),
        "rmse_mean": ("rmse_mean", "rmse"),
    }
    untouched_times = 21
    is_action = False
    excess_gate = EXCESS.gate

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return log loss over the classes, or squared error of the standardised number."""
        if spec.get("kind") == REGRESSION:
            return Objective("squared")
        return Objective("softmax", len(class_names(spec)) if spec else 0)

    def label_spec(
        self, horizon_bars: int | None, training: pl.DataFrame, options: Mapping[str, Json]
    ) -> dict[str, Json]:
        """Return target and columns; everything but the names is fitted on `training`.

        Raises:
            ParameterError: no target named, or an option names a column that is not there.
            TableError: a column, a target or a leak that no model should be fitted on.
        """
        chosen = {name: str(value) for name, value in options.items()}
        target, dropped = chosen["target"], _names(chosen["drop"])
        time, *others = training.columns
        shown = ", ".join(others)
        if target not in training.columns:
            raise ParameterError("target", target, f"a column (options target=...): {shown}")
        for name in (*dropped, *filter(None, [chosen["label_end"]])):
            if name not in training.columns:
                raise ParameterError("options", name, f"a column: {shown}")
        known = training.filter(pl.col(target).is_not_null())
        fitted = fit_target(known[target], chosen["task"])
        features = known.drop(time, target, *dropped, *filter(None, [chosen["label_end"]]))
        columns = typed(features, "")
        values = encoded(features, columns, "")
        y = read_target(known[target], fitted, "")
        has_y = np.isfinite(y)
        refuse_leaks(values[has_y], [c.name for c in columns], y[has_y], target)
        return {
            **fitted,
            "target": target,
            "horizon_bars": horizon_bars or 0,
            "columns": [column.to_json() for column in columns],
            "fitted": ["classes", "center", "scale", "columns"],
        }

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return (y - center) / scale, which of classes is the class number."""
        return (y - context["center"]) / context["scale"], np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit calibrator and shares of classes, or mean and conformal half width of a number."""
        oof = known_to(training, oof)
        if training.spec["kind"] == REGRESSION:
            return _number_decoder(oof, training)
        return fit_class_decoder(oof, training, len(class_names(training.spec)))

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> Sequence[TabularAnswer]:
        """Return a class per row, or a number, and the features that have no value (NaN)."""
        spec, names = contract.label_spec, contract.feature_names
        gaps = [tuple(names[i] for i in np.flatnonzero(row)) for row in np.isnan(features)]
        if spec["kind"] == REGRESSION:
            values = _values(scores, spec).tolist()
            return [of_number(v, gap, decoder) for v, gap in zip(values, gaps, strict=True)]
        classes, rows = class_names(spec), calibrated(scores, decoder)
        return [of_class(row, classes, gap, decoder) for row, gap in zip(rows, gaps, strict=True)]

    def answer_types(self, contract: ModelContract, asked: Sequence[str] = ()) -> Types:
        """Return the types of a class, or of a number."""
        is_number = contract.label_spec["kind"] == REGRESSION
        kind = TabularNumberAnswer if is_number else TabularClassAnswer
        return types_of(kind, self.names_in_answers(contract))

    def names_in_answers(self, contract: ModelContract) -> tuple[str, ...]:
        """Return the classes; none of a number."""
        spec = contract.label_spec
        return () if spec["kind"] == REGRESSION else class_names(spec)

    def decode_frame(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the same as columns."""
        spec, gaps = contract.label_spec, (contract.feature_names, np.isnan(features))
        if spec["kind"] == REGRESSION:
            return number_frame(_values(scores, spec), gaps, decoder)
        return class_frame(calibrated(scores, decoder), class_names(spec), gaps, decoder)

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return log loss, or the squared error in units of the target's variance."""
        if rows.spec["kind"] == REGRESSION:
            return _squared(rows, _values(scores, rows.spec))
        return log_loss(calibrated(scores, decoder), rows.y)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the same loss of the training slice's class shares, or of its mean."""
        if rows.spec["kind"] == REGRESSION:
            mean = rows.y.mean() if decoder is None else decoder.arrays["mean"][0]
            return _squared(rows, np.full(len(rows), mean))
        n_classes = len(class_names(rows.spec))
        prior = shares(rows.y, n_classes) if decoder is None else decoder.arrays["prior"]
        return log_loss(np.tile(prior, (len(rows), 1)), rows.y)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the forecasts against class shares or mean; the gate is `quality.skill`."""
        horizon = int(cast(int, spec["horizon_bars"]))
        if spec["kind"] == REGRESSION:
            return _judge_number(oof, decoders, spec, horizon)
        probabilities = by_fold(oof, decoders, calibrated)
        prior = by_fold(oof, decoders, prior_of)
        classes = class_names(spec)
        judged = judge_classes(oof.rows, probabilities, prior, classes, horizon)
        return judged.with_gates(
            plausible_classes(oof.rows, probabilities, classes, horizon),
            PLAUSIBLE_TABLE_R2.absent("the target is a class"),
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


# Numbers ---------------------------------------------------------------------------------------


def _number_decoder(oof: OutOfFold, training: LabelledRows) -> Decoder:
    error = np.abs(oof.rows.y - _values(oof.scores, training.spec))
    facts: dict[str, Json] = {
        "level": LEVEL,
        "half_width": conformal_quantile(error, LEVEL),
        "n_calibration_rows": len(oof.rows),
    }
    return Decoder(facts, {"mean": np.array([training.y.mean()])})


def _values(scores: NDArray[np.float32], spec: Mapping[str, Json]) -> Array:
    scale, center = float(cast(float, spec["scale"])), float(cast(float, spec["center"]))
    return scores[:, 0].astype(np.float64) * scale + center


def _squared(rows: LabelledRows, values: Array) -> Array:
    return np.asarray(((rows.y - values) / rows.context["scale"]) ** 2, dtype=np.float64)


def _judge_number(
    oof: OutOfFold, decoders: Mapping[int, Decoder], spec: Mapping[str, Json], horizon: int
) -> Evaluation:
    forecast = _values(oof.scores, spec)
    mean = by_fold(oof, decoders, lambda s, d: np.full(len(s), d.arrays["mean"][0]))
    half = by_fold(oof, decoders, lambda s, d: np.full(len(s), _half_width(d)))
    bounds = (forecast - half, forecast + half)
    judged = judge_numbers(oof.rows, forecast, mean, bounds, LEVEL, horizon)
    return judged.with_gates(
        plausible_numbers(oof.rows, forecast, mean, horizon),
        PLAUSIBLE_AUC.absent("the target is a number"),
    )


def _half_width(decoder: Decoder) -> float:
    found = decoder.facts["half_width"]
    return float("nan") if found is None else float(cast(float, found))


TEMPLATE = Tabular()
