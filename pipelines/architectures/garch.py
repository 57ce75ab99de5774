"""GJR-GARCH(1,1) fits of every symbol with the arch library, as a filter that numpy can run.

Constant mean and Student-t errors, by maximum likelihood (Bollerslev 1987; Glosten, Jagannathan and
Runkle 1993). Only the recursion is kept: scenarios take their innovations from the residuals.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from arch import arch_model
from numpy.typing import NDArray

from pipelines.architectures.volatility_filters import Gjr
from registry.errors import FitError

Array = NDArray[np.float64]

PERCENT = 100.0
"""The optimiser wants returns in percent."""
FALLBACK_DECAY = 0.94
MOST_PERSISTENCE = 1 + 1e-6
MOST_ITERATIONS = 1000


def fit_gjr(
    returns: Array,
    names: Sequence[str],
    *,
    may_fall_back: bool,
    notice: Callable[[str], None] | None,
) -> Gjr:
    """Fit each column of returns (n, n_symbols) by itself.

    Args:
        names: what the symbols are called.
        may_fall_back: whether a symbol whose fit does not converge gets EWMA(0.94), which is a GJR
            recursion too; `notice` is told which.

    Raises:
        FitError: a fit does not converge and may not fall back.
    """
    columns = []
    for name, column in zip(names, returns.T, strict=True):
        found, problem = _fit_one(column)
        if problem and not may_fall_back:
            hint = 'lengthen the window, use ewma_fhs, or set {"on_failure": "ewma"}'
            raise FitError("gjr_garch_fhs", f"symbol {name} did not converge ({problem})", hint)
        if problem and notice is not None:
            notice(f"gjr_garch_fhs: symbol {name} did not converge ({problem}); EWMA instead")
        columns.append(_ewma(column) if problem else found)
    return Gjr(*np.stack(columns, axis=1))


def _fit_one(column: Array) -> tuple[Array, str]:
    """Return mean, omega, alpha, gamma, beta and backcast, and the reason not to use them."""
    model = arch_model(
        PERCENT * column, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False
    )
    fitted = model.fit(
        disp="off", show_warning=False, options={"maxiter": MOST_ITERATIONS}, update_freq=0
    )
    mean, omega, alpha, gamma, beta = np.asarray(fitted.params, dtype=np.float64)[:5]
    centred = PERCENT * (column - column.mean())
    backcast = float(model.volatility.backcast(centred))
    scaled = (mean / PERCENT, omega / PERCENT**2, alpha, gamma, beta, backcast / PERCENT**2)
    return np.array(scaled), _problem(fitted, alpha + gamma / 2 + beta)


def _problem(fitted: Any, persistence: float) -> str:
    """Return the reason why the fit cannot be used; empty when it can.

    A persistence of 1, the optimiser's bound, is usable: the recursion then has no long-run mean,
    as an EWMA has none.
    """
    if fitted.convergence_flag != 0:
        return f"flag {fitted.convergence_flag}, {fitted.optimization_result.message}"
    return "" if persistence <= MOST_PERSISTENCE else f"persistence {persistence:.4f} is above 1"


def _ewma(column: Array) -> Array:
    backcast = float((column**2).mean())
    return np.array([0.0, 0.0, 1 - FALLBACK_DECAY, 0.0, FALLBACK_DECAY, backcast])
