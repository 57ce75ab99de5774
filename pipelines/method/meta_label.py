"""Meta-labels: is the primary signal right this time, after costs (AFML section 3.6). Numpy only.

The primary model says the side; a secondary one says how likely that side earns more than it
costs over the label's span. It is a small ridge logistic regression on what is known with the
scores, so it travels in the decoder of the one artifact and needs no library to serve.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.method.costs import CostSpec, contract_fee
from pipelines.method.metrics import MICROSECONDS_PER_YEAR
from pipelines.method.rows import LabelledRows

Array = NDArray[np.float64]

LEAST_ROWS = 500
RIDGE = 1.0
"""Penalty on squared standardised coefficients, in rows."""
STEPS = 50
ACCEPTED = 0.5
"""A signal is kept when it is more likely right than wrong."""


@dataclass(frozen=True, slots=True)
class MetaForecast:
    """Secondary forecasts of rows: `confidence` P(right), `prior` that of the training rows.

    `right`: 1 where the side earned more than it cost, else 0. All (n,), NaN where there is no
    side or no secondary model.
    """

    confidence: Array
    prior: Array
    right: Array


def meta_inputs(probabilities: Array, sigma: Array, novelty: Array) -> Array:
    """Return (n, 6): |edge|, P(HOLD), |log odds| of the side, log sigma, log novelty, is BUY.

    Args:
        probabilities: (n, 3) calibrated, SELL, HOLD, BUY.
        sigma: (n,) volatility per bar; where it is NaN the confidence is too.
        novelty: (n,) distance from the training inputs, at least 0.
    """
    sell, hold, buy = np.maximum(probabilities, 1e-12).T
    columns = (
        np.abs(buy - sell),
        hold,
        np.abs(np.log(buy / sell)),
        np.log(sigma),
        np.log1p(np.minimum(novelty, 1e12)),
        (buy > sell).astype(np.float64),
    )
    return np.column_stack(columns)


def round_trip_cost(rows: LabelledRows, side: Array, spec: CostSpec) -> Array:
    """Return the cost of entering and leaving one unit, with borrowing and funding; (n,).

    A spread measured in the data replaces the assumed one, as in `costs.charge`; impact is left
    out, it depends on a position that is not decided yet.
    """
    measured = rows.context["half_spread"]
    spread = np.where(measured >= 0, measured, spec.half_spread)
    years = (rows.t1 - rows.t0) / MICROSECONDS_PER_YEAR
    held = np.where(side < 0, spec.borrow_per_year * years, 0.0) + spec.funding_per_year * years
    fees = spec.fee + (contract_fee(rows.context["close"], spec) if spec.fee_per_contract else 0.0)
    return np.asarray(2 * (spread + fees + spec.slippage) + held, dtype=np.float64)


def meta_labels(rows: LabelledRows, side: Array, spec: CostSpec) -> Array:
    """Return 1 where the net return of the side over [t0, t1] is positive, else 0.

    Args:
        side: (n,) +1 or -1; 0 has no meta-label: NaN.
    """
    gross = side * np.expm1(rows.outcome["log_return"])
    right = (gross - round_trip_cost(rows, side, spec) > 0).astype(np.float64)
    return np.where(side == 0, np.nan, right)


def fit_meta(inputs: Array, right: Array) -> dict[str, Array]:
    """Return the arrays `center`, `scale`, `weight` (k + 1, intercept first), `prior` (1,).

    Newton's method on the ridge-penalised log loss, which is convex. Rows with a NaN are left
    out; with fewer than 500 left, or one class only, there is no model: no arrays.
    """
    keep = np.isfinite(inputs).all(axis=1) & np.isfinite(right)
    x, y = inputs[keep], right[keep]
    if len(y) < LEAST_ROWS or y.min() == y.max():
        return {}
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    design = np.column_stack((np.ones(len(y)), (x - center) / scale))
    penalty = RIDGE * np.diag([0.0, *np.ones(x.shape[1])])
    weight = np.zeros(design.shape[1])
    weight[0] = np.log(y.mean() / (1 - y.mean()))
    for _ in range(STEPS):
        p = _logistic(design @ weight)
        slope = design.T @ (y - p) - penalty @ weight
        bend = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(bend, slope)
        weight = weight + step
        if np.abs(step).max() < 1e-10:
            break
    return {"center": center, "scale": scale, "weight": weight, "prior": np.array([y.mean()])}


def meta_confidence(inputs: Array, arrays: Mapping[str, Array]) -> Array:
    """Return P(right) of each row; NaN where an input is, or where there is no model."""
    if not arrays:
        return np.full(len(inputs), np.nan)
    standard = (inputs - arrays["center"]) / arrays["scale"]
    return _logistic(arrays["weight"][0] + standard @ arrays["weight"][1:])


def _logistic(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)), dtype=np.float64)
