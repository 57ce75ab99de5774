"""Boosted trees, one file per library: XGBoost, LightGBM, CatBoost.

All give margins: the log of the forecast for `gamma`, logits for `softmax`, the forecast for
`squared`; links (exp, softmax) are the template's business. A NaN feature is a missing value. A
feature named in `TrainingRows.categorical` is split by sets of its codes where the library can.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMPORTANCE_ROWS = 2000


def shap_importance(
    contributions: Callable[[NDArray[np.float32]], NDArray[Any]], X: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return mean absolute SHAP values over evenly spaced rows, added over the scores.

    Exact TreeSHAP (Lundberg et al. 2020) as the libraries compute it. Trees without any split
    attribute nothing to anything: then every feature gets the same share.

    Args:
        contributions: rows (n, n_features) -> (n, n_scores, n_features), without the intercept.

    Returns:
        Shares that sum to 1, (n_features,).
    """
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), IMPORTANCE_ROWS)).astype(np.intp))
    found = np.abs(contributions(X[rows]))
    share = found.mean(axis=0, dtype=np.float64).sum(axis=0)
    total = share.sum()
    return share / total if total > 0 else np.full(len(share), 1.0 / len(share))


def first_line(error: Exception) -> str:
    """Return the first line of a library's message, without time and source file."""
    first = str(error).strip().partition("\n")[0]
    return first.rpartition(": ")[2] or type(error).__name__
