"""Calibration of class probabilities: identity, temperature, isotonic. Numpy only.

A calibrator is fitted on pooled earlier out-of-fold predictions. It is kept only if it lowers the
log loss of the next fold; else the identity stays. Serving applies the same code, so a calibrator
is two small arrays in the decoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.method.metrics import calibration_error, log_loss

Array = NDArray[np.float64]

GROUPS = 200
"""Isotonic regression runs on at most this many equal-mass groups: enough steps, fast, smooth."""

SMALLEST = 1e-3
"""Isotonic probabilities stay in [SMALLEST, 1 - SMALLEST], so that every log loss is finite."""

MINIMUM_ROWS = 500


@dataclass(frozen=True, slots=True)
class Calibrator:
    """From logits to probabilities, by one of three methods and its arrays.

    `identity` has no arrays, `temperature` has `temperature` (1,), `isotonic` has `x` and `p`, both
    (k, groups). Isotonic maps each class's softmax probability by linear interpolation, then
    divides by the sum over the classes.
    """

    method: str = "identity"
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def apply(self, scores: NDArray[np.float32]) -> Array:
        """Return probabilities (n, k) of logits (n, k); rows sum to 1."""
        logits = scores.astype(np.float64)
        if self.method == "temperature":
            return softmax(logits / self.arrays["temperature"][0])
        raw = softmax(logits)
        if self.method == "identity":
            return raw
        curves = zip(raw.T, self.arrays["x"], self.arrays["p"], strict=True)
        mapped = np.column_stack([np.interp(column, x, p) for column, x, p in curves])
        return np.asarray(mapped / mapped.sum(axis=1, keepdims=True), dtype=np.float64)


def softmax(logits: Array) -> Array:
    """Return exp(z) / sum exp(z) along the last axis, without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Choice:
    """The calibrator that was kept, refitted on all rows, and its error before that refit.

    `calibration_error` is the classwise ECE (every class of every row against its indicator) on
    the newest fold, which the fit it was measured with had not seen; None without two folds.
    """

    calibrator: Calibrator
    calibration_error: float | None


def choose(
    scores: NDArray[np.float32],
    classes: Array,
    fold: NDArray[np.int64],
    fewest_rows: int = MINIMUM_ROWS,
) -> Choice:
    """Choose among identity, temperature and isotonic.

    Args:
        scores: (n, k) logits of out-of-fold rows in time order.
        fold: (n,), grows with time.
        fewest_rows: with fewer in either part nothing is compared; between these and
            `MINIMUM_ROWS` only the temperature is, whose one number needs less than a curve.

    Candidates are fitted on all folds but the newest and compared there by log loss. With fewer
    than two folds nothing can be compared and the identity stays.
    """
    newest = fold == fold.max(initial=-1)
    n_compared = min(int(newest.sum()), int((~newest).sum()))
    if n_compared < fewest_rows:
        return Choice(Calibrator(), None)
    best, winner = None, Calibrator()
    for fit in FITS if n_compared >= MINIMUM_ROWS else (fit_temperature,):
        candidate = fit(scores[~newest], classes[~newest])
        if _mean_loss(candidate, scores[newest], classes[newest]) < _mean_loss(
            winner, scores[newest], classes[newest]
        ):
            best, winner = fit, candidate
    error = _classwise_error(winner.apply(scores[newest]), classes[newest])
    return Choice(winner if best is None else best(scores, classes), error)


def _mean_loss(calibrator: Calibrator, scores: NDArray[np.float32], classes: Array) -> float:
    return float(log_loss(calibrator.apply(scores), classes).mean())


def _classwise_error(probabilities: Array, classes: Array) -> float:
    indicator = np.eye(probabilities.shape[1])[classes.astype(np.intp)]
    return calibration_error(probabilities.ravel(), indicator.ravel())


def fit_temperature(scores: NDArray[np.float32], classes: Array) -> Calibrator:
    """Return softmax(z / T) with the T of lowest log loss (Guo et al. 2017), T in [0.05, 100].

    The log loss is convex in 1/T: a bisection on its derivative finds the minimum.
    """
    logits = scores.astype(np.float64)
    chosen = logits[np.arange(len(classes)), classes.astype(np.intp)]
    low, high = 0.01, 20.0
    for _ in range(50):
        middle = (low * high) ** 0.5
        slope = float(((softmax(middle * logits) * logits).sum(axis=1) - chosen).mean())
        low, high = (low, middle) if slope > 0 else (middle, high)
    return Calibrator("temperature", {"temperature": np.array([1 / (low * high) ** 0.5])})


def fit_isotonic(scores: NDArray[np.float32], classes: Array) -> Calibrator:
    """Return one isotonic curve per class, one against the rest (Zadrozny and Elkan 2002)."""
    raw = softmax(scores.astype(np.float64))
    curves = [_curve(raw[:, k], (classes == k).astype(np.float64)) for k in range(raw.shape[1])]
    return Calibrator(
        "isotonic",
        {"x": np.stack([x for x, _ in curves]), "p": np.stack([p for _, p in curves])},
    )


def _curve(forecast: Array, hit: Array) -> tuple[Array, Array]:
    order = np.argsort(forecast, kind="stable")
    edges = np.linspace(0, len(order), min(GROUPS, len(order)) + 1).astype(np.intp)
    weight = np.diff(edges).astype(np.float64)
    x = np.add.reduceat(forecast[order], edges[:-1]) / weight
    p = isotonic(np.add.reduceat(hit[order], edges[:-1]) / weight, weight)
    return x, np.clip(p, SMALLEST, 1 - SMALLEST)


def isotonic(values: Array, weight: Array) -> Array:
    """Return the non-decreasing fit of least weighted squares (pool adjacent violators)."""
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for value, mass in zip(values.tolist(), weight.tolist(), strict=True):
        mean, size = value, 1
        while means and means[-1] >= mean:
            pooled = masses[-1] + mass
            mean = (means.pop() * masses.pop() + mean * mass) / pooled
            mass, size = pooled, size + sizes.pop()
        means.append(mean)
        masses.append(mass)
        sizes.append(size)
    return np.repeat(np.asarray(means, dtype=np.float64), sizes)


FITS = (fit_temperature, fit_isotonic)
