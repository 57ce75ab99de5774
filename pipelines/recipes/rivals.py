"""Rivals that a template cannot compute itself, because they need a library to be fitted.

A template names those it wants (`Template.rivals`). `validate` adds their forecasts to the
out-of-fold rows as outcomes `rival.NAME`, where the template's `evaluate` finds them. Nothing here
is part of a version.

Forecasts of variance are compared with GARCH(1,1) and GJR-GARCH: `arch` fits their parameters on
each symbol's returns before a test block, the recursion of `pipelines/method/variance_models.py`
carries them through it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.method.labels import log_returns
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.variance_models import Garch, best_scale
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import RIVAL

Array = NDArray[np.float64]

PERCENT = 100.0
"""`arch` takes returns in percent, because its optimiser is scaled for them."""
TYPICAL = (0.3, 30.0)
"""Standard deviations of returns that the optimiser takes as they are; those of shorter bars are
brought to 1 for a fit, or it would not converge."""
LEAST_RETURNS = 500
REFIT_FOLDS = 3
"""Parameters are fitted at every third fold and filtered through all: they move slowly, and a fit
of 20 symbols in 23 yearly folds would otherwise take longer than the models themselves."""


def with_rivals(oof: OutOfFold, recipe: Recipe, dataset: Dataset) -> OutOfFold:
    """Return the out-of-fold predictions with the forecasts of the template's rivals beside them.

    Forecasts are NaN where a rival has none.
    """
    if not recipe.template.rivals:
        return oof
    data, horizon = kind_of(recipe.template).training(dataset.data), recipe.horizon_bars
    found = {
        RIVAL + name: RIVALS[name](oof, dataset.rows, data, horizon)
        for name in recipe.template.rivals
    }
    return replace(oof, rows=replace(oof.rows, outcome={**oof.rows.outcome, **found}))


def garch(
    oof: OutOfFold,
    rows: LabelledRows,
    series: Iterable[BarSeries],
    horizon: int,
    *,
    n_asymmetric: int = 0,
) -> Array:
    """Return the variance that GARCH(1,1) forecasts at each out-of-fold row, (n,).

    Args:
        oof: predictions of some of `rows`, block after block.
        rows: all labelled rows; those complete before a block scale the forecasts of it.
        series: bars of every symbol.
        horizon: bars of the forecast.
        n_asymmetric: 1 for GJR-GARCH.

    NaN for a symbol with fewer than 500 returns before the block, and where the fit did not
    converge. Forecasts are multiplied by the constant that was best on the rows before the block
    (`best_scale`), so that a proxy other than squared returns is compared in its own unit.
    """
    found = np.full(len(oof.rows), np.nan)
    for bars in series:
        symbol = rows.symbols.index(bars.symbol)
        past, tested = rows.take(rows.symbol == symbol), oof.rows.symbol == symbol
        found[tested] = _forecasts(bars, past, oof.take(tested), n_asymmetric, horizon)
    return found


def _forecasts(
    bars: BarSeries, past: LabelledRows, tested: OutOfFold, order: int, horizon: int
) -> Array:
    """Return one symbol's forecasts, (n_tested,)."""
    out = np.full(len(tested.rows), np.nan)
    returns = PERCENT * log_returns(bars.close)[1:]
    everywhere = np.full(len(bars), np.nan)
    for i, fold in enumerate(np.unique(tested.fold)):
        block = tested.fold == fold
        start = int(tested.rows.t0[block].min())
        if i % REFIT_FOLDS == 0:
            known = returns[: max(0, int(np.searchsorted(bars.timestamp, start)) - 1)]
            model = fit_garch(known, order)
            everywhere = _at_every_bar(model, returns, horizon, len(bars))
        before = past.take(past.t1 < start)
        forecast = everywhere[np.searchsorted(bars.timestamp, before.t0)]
        at = np.searchsorted(bars.timestamp, tested.rows.t0[block])
        out[block] = everywhere[at] * best_scale(before.y, forecast)
    return out


def _at_every_bar(model: Garch | None, returns: Array, horizon: int, n_bars: int) -> Array:
    if model is None:
        return np.full(n_bars, np.nan)
    return model.forecast(model.variances(returns), horizon)


def fit_garch(returns: Array, order: int) -> Garch | None:
    """Fit GARCH(1,1), or GJR-GARCH where `order` is 1, with normal errors and mean zero.

    Args:
        returns: log returns in percent, oldest first.

    Returns:
        None for fewer than 500 returns, for returns that do not vary, or when the optimiser did not
        converge.
    """
    if len(returns) < LEAST_RETURNS or not returns.std() > 0:
        return None
    from arch import arch_model

    unit = 1.0 if TYPICAL[0] <= returns.std() <= TYPICAL[1] else float(returns.std())
    model = arch_model(returns / unit, mean="Zero", p=1, o=order, q=1, rescale=False)
    fit = model.fit(disp="off", show_warning=False)
    if fit.convergence_flag != 0:
        return None
    found = dict(fit.params)
    start = float(model.volatility.backcast(returns / unit)) * unit**2
    gamma = float(found.get("gamma[1]", 0.0))
    omega = found["omega"] * unit**2
    return Garch(omega, found["alpha[1]"], gamma, found["beta[1]"], start)


RIVALS: Mapping[str, Callable[[OutOfFold, LabelledRows, Any, int], Array]] = {
    "garch": garch,
    "gjr_garch": partial(garch, n_asymmetric=1),
}
"""Name -> forecasts at out-of-fold rows, of these, all rows, the data as `InputKind.training` gives
them, and the bars of the horizon."""
