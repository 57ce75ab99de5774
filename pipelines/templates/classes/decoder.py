"""Class decoder: calibrator and class shares, for templates that answer with a class of a row.

Fitted on earlier out-of-fold rows, stored in the version's decoder, applied the same way in
evaluation and in serving. Numpy only.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.method.calibration import Calibrator, choose
from pipelines.method.rows import LabelledRows, OutOfFold, prefixed
from registry.contract import Json
from registry.decoder import Decoder

Array = NDArray[np.float64]

FEWEST_TO_CALIBRATE = 100
PREFIX = "calibrator."
WEIGHT = "prior_weight"


def fit_class_decoder(oof: OutOfFold, training: LabelledRows, n_classes: int) -> Decoder:
    """Return calibrator and class shares.

    Args:
        oof: predictions whose label was known when the training labels were; without enough of
            them the logits stay as they are.
        training: rows of the fit whose scores will be decoded.
    """
    chosen = choose(oof.scores, oof.rows.y, oof.fold, FEWEST_TO_CALIBRATE)
    facts: dict[str, Json] = {
        "calibrator": chosen.calibrator.method,
        "ece": chosen.calibration_error,
        "n_calibration_rows": len(oof.rows),
    }
    arrays = {PREFIX + name: values for name, values in chosen.calibrator.arrays.items()}
    prior = shares(training.y, n_classes)
    weight = np.array([_weight_of_prior(len(training), n_classes)])
    return Decoder(facts, {**arrays, "prior": prior, WEIGHT: weight})


def _weight_of_prior(n_rows: int, n_classes: int) -> float:
    """Return what half a row of each class weighs beside the rows of a fit."""
    return n_classes / 2 / (n_rows + n_classes / 2)


def shares(y: Array, n_classes: int) -> Array:
    """Return the share of each class, with half a row added to each so that none is 0."""
    count = np.bincount(y[np.isfinite(y)].astype(np.intp), minlength=n_classes) + 0.5
    return np.asarray(count / count.sum(), dtype=np.float64)


def calibrated(scores: NDArray[np.float32], decoder: Decoder) -> Array:
    """Return the calibrated probabilities (n, k) of logits (n, k).

    They are mixed with the class shares, as if half a row of each class had been seen beside those
    of the fit: no answer is surer than so many rows allow. Decoders of before have no such weight.
    """
    arrays = prefixed(decoder.arrays, PREFIX)
    found = Calibrator(str(decoder.facts["calibrator"]), arrays).apply(scores)
    if WEIGHT not in decoder.arrays:
        return found
    weight = decoder.arrays[WEIGHT][0]
    return np.asarray((1 - weight) * found + weight * decoder.arrays["prior"])


def prior_of(scores: NDArray[np.float32], decoder: Decoder) -> Array:
    """Return the class shares (n, k), the same for each row of the scores."""
    return np.tile(decoder.arrays["prior"], (len(scores), 1))


def by_fold(
    oof: OutOfFold,
    decoders: Mapping[int, Decoder],
    apply: Callable[[NDArray[np.float32], Decoder], Array],
) -> Array:
    """Return `apply` of each row with its own fold's decoder, in the rows' order."""
    found: Array | None = None
    for fold in np.unique(oof.fold):
        rows = oof.fold == fold
        part = apply(oof.scores[rows], decoders[int(fold)])
        if found is None:
            found = np.empty((len(oof.fold), *part.shape[1:]))
        found[rows] = part
    assert found is not None  # an evaluation has at least one fold
    return found
