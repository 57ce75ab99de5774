"""Parity: an artifact's scores beside those of the native model, as gate rows.

The native artifact itself is held to the fitted estimator's own scores, which the train stage
keeps.

Reference rows are real model inputs. Extreme rows are made from them: the largest and the smallest
value of each feature, exact split thresholds and their neighbours, denormal numbers and, where the
template allows them, missing values. Batches of 1, 2, 7 and 2,048 rows must all give the scores of
the whole. What a value may be at most is `registry.flavors.parity`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import Estimator
from pipelines.method.agreement import difference
from pipelines.recipes.inputs import spread_evenly
from registry.backends import Predictor
from registry.flavors import FULL, Artifact, NativeModel
from registry.flavors.native import NATIVE, PROGRAMS
from registry.flavors.parity import EXTREMES, LABELS, gate_name, limit
from registry.flavors.trees.thresholds import split_points
from registry.gates import Comparison, GateRow

N_PARITY_ROWS = 2048
MOST_SCORES = 1_000_000
"""Scores of the fitted estimator that are kept; of scenarios that is fewer than all rows."""
BATCHES = (1, 2, 7, 2048)
MOST_SPLITS = 256
"""Split thresholds that are tried, spread evenly over those of the model."""
DENORMAL = np.float32(1e-45)
FLOAT16_END = float(np.finfo(np.float16).max)

Rows = NDArray[np.float32]
Labels = Callable[[Rows, Rows], NDArray[np.generic]]
"""Model inputs and their scores -> the answer's class per row."""


@dataclass(frozen=True, slots=True)
class FittedScores:
    """What the fitted estimator itself said of reference and extreme rows, (n, n_scores) each.

    Law: `from_bytes(s.to_bytes())` equals s. Of more rows than scores, these are evenly spread ones
    (`scored`).
    """

    reference: Rows
    extremes: Rows

    def to_bytes(self) -> bytes:
        """Return the scores as an npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, reference=self.reference, extremes=self.extremes)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "FittedScores":
        """Return what `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return cls(stored["reference"], stored["extremes"])


@dataclass(frozen=True, slots=True)
class Parity:
    """What artifacts of one model are compared on.

    `native` scores the rows; `label` gives the class of a row where answers are classes. `fitted`
    is what the native artifact is compared with, None where the train run kept nothing.
    """

    native: Callable[[Rows], Rows]
    reference: Rows
    extremes: Rows
    is_network: bool
    label: Labels | None = None
    fitted: FittedScores | None = None

    def compare(self, artifact: Artifact, predictor: Predictor, where: str) -> tuple[GateRow, ...]:
        """Return the artifact's gate rows as a predictor on backend `where` shows them."""
        if artifact == NATIVE:
            return self._native_rows(predictor, where)
        reference, extremes = (within(artifact, rows) for rows in (self.reference, self.extremes))
        if not len(reference):
            return (self._row(artifact, float("inf"), "", f"no row fits on {where}"),)
        native, scores = self.native(reference), predictor(reference)
        worst = max(_apart(native, scores), batches_apart(predictor, reference, native))
        note = f"{_counted(self.reference, reference)} on {where} against native"
        rows = [self._row(artifact, worst, "", note)]
        if len(extremes):
            value = _apart(self.native(extremes), predictor(extremes))
            note = f"{_counted(self.extremes, extremes)} on {where} against native"
            rows.append(self._row(artifact, value, EXTREMES, note))
        if self.label:
            same = self.label(reference, native) == self.label(reference, scores)
            note = f"share of {len(reference)} rows on {where} with native's class"
            rows.append(self._row(artifact, float(np.mean(same)), LABELS, note))
        return tuple(rows)

    def _native_rows(self, predictor: Predictor, where: str) -> tuple[GateRow, ...]:
        """Compare the native artifact with the estimator that it was written from."""
        if self.fitted is None:
            note = "not computed: the train run kept no scores of its estimator; train again"
            return (self._row(NATIVE, None, "", note),)
        pairs = (
            ("", self.reference, self.fitted.reference),
            (EXTREMES, self.extremes, self.fitted.extremes),
        )
        rows = []
        for measure, every, scores in pairs:
            compared = scored(every, len(scores))
            note = f"{len(compared)} rows on {where} against the fitted estimator"
            rows.append(self._row(NATIVE, _apart(scores, predictor(compared)), measure, note))
        return tuple(rows)

    def _row(self, artifact: Artifact, value: float | None, measure: str, note: str) -> GateRow:
        highest = limit(artifact, measure, is_network=self.is_network)
        comparison: Comparison = ">=" if measure == LABELS else "<="
        return GateRow(gate_name(artifact, measure), value, comparison, highest, note)


def parity_of(
    model: NativeModel,
    native: Callable[[Rows], Rows],
    reference: Rows,
    *,
    may_miss: bool = False,
    label: Labels | None = None,
    fitted: FittedScores | None = None,
) -> Parity:
    """Return the comparison of a model's artifacts on these rows.

    Args:
        may_miss: whether a feature of a row may be NaN; no program takes that.
        fitted: as `fitted_scores` of the same rows gives it.
    """
    extremes = _extremes_of(model, reference, may_miss=may_miss)
    return Parity(native, reference, extremes, model.format in PROGRAMS, label, fitted)


def fitted_scores(
    estimator: Estimator, model: NativeModel, reference: Rows, *, may_miss: bool = False
) -> FittedScores:
    """Return what an estimator says of reference rows, and of the extreme rows made from them.

    Args:
        model: the estimator's native model.
        may_miss: as in `parity_of`.
    """
    extremes = _extremes_of(model, reference, may_miss=may_miss)
    n_kept = max(1, MOST_SCORES // max(1, estimator.n_scores))
    return FittedScores(
        *(estimator.predict(scored(rows, n_kept)) for rows in (reference, extremes))
    )


def scored(rows: Rows, n_kept: int) -> Rows:
    """Return the rows, of many as many as are kept, evenly spread."""
    return np.ascontiguousarray(rows[spread_evenly(len(rows), n_kept)])


def _extremes_of(model: NativeModel, reference: Rows, *, may_miss: bool) -> Rows:
    misses = may_miss and model.format not in PROGRAMS
    return extreme_rows(reference, split_points(model), may_miss=misses)


def extreme_rows(
    reference: Rows, splits: tuple[NDArray[np.int64], Rows], *, may_miss: bool
) -> Rows:
    """Return extreme rows (n, [step,] feature) around the middle one of the reference rows.

    Args:
        splits: feature and threshold of each split of a model of trees.
    """
    base = reference[len(reference) // 2]
    over = tuple(range(reference.ndim - 1))
    ends = [np.nanmin(reference, axis=over), np.nanmax(reference, axis=over)]
    made = [np.broadcast_to(end, base.shape) for end in ends]
    made += [_with(base, at, end[at]) for end in ends for at in range(base.shape[-1])]
    made += [np.full_like(base, value) for value in (DENORMAL, -DENORMAL, np.float32(0))]
    for feature, value in zip(*_thinned(splits), strict=True):
        beside = (np.nextafter(value, np.float32(side)) for side in (-np.inf, np.inf))
        made += [_with(base, feature, near) for near in (value, *beside)]
    if may_miss:
        made += [_with(base, at, np.float32(np.nan)) for at in range(base.shape[-1])]
        made.append(np.full_like(base, np.nan))
    rows = np.stack(made).astype(np.float32)
    return rows if may_miss else rows[np.isfinite(rows).reshape(len(rows), -1).all(axis=1)]


def within(artifact: Artifact, rows: Rows) -> Rows:
    """Return the rows that an artifact can take: below full precision those of float16's range."""
    if artifact.variant == FULL:
        return rows
    fits = np.isnan(rows) | (np.abs(rows) <= FLOAT16_END)
    return rows[fits.reshape(len(rows), -1).all(axis=1)]


def batches_apart(predictor: Predictor, rows: Rows, native: Rows) -> float:
    """Return how far batches of other sizes are from native's scores of the same rows."""
    worst = 0.0
    for size in (size for size in BATCHES if size != len(rows)):
        index = np.arange(size) % len(rows)
        worst = max(worst, _apart(native[index], predictor(np.ascontiguousarray(rows[index]))))
    return worst


def _apart(native: Rows, scores: Rows) -> float:
    """Return the difference; infinite where native has no number to agree with."""
    return difference(native, scores) if np.isfinite(native).any() else float("inf")


def _with(base: Rows, feature: int, value: np.float32) -> Rows:
    row = base.copy()
    row[..., feature] = value
    return row


def _thinned(splits: tuple[NDArray[np.int64], Rows]) -> tuple[NDArray[np.int64], Rows]:
    features, values = splits
    index = np.linspace(0, len(values) - 1, min(MOST_SPLITS, len(values))).astype(np.intp)
    return features[index], values[index]


def _counted(rows: Rows, kept: Rows) -> str:
    left_out = len(rows) - len(kept)
    beyond = f", {left_out} beyond float16's range left out," if left_out else ""
    return f"{len(kept)} rows{beyond}"
