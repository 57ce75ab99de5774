"""Scenarios of a portfolio's symbols: what each could return over the horizon, all together.

A fit gives a matrix of losses (scenario, symbol), so that the loss of any portfolio is one matrix
product. Four ways to make it, which differ in the filter and in where the shocks come from:

- `historical`: the newest `window` returns as they were;
- `ewma_fhs`: the same days' returns, each divided by the EWMA volatility of its day and multiplied
  by today's (filtered historical simulation: Hull and White 1998; Barone-Adesi et al. 1999);
- `gjr_garch_fhs`: that with a GJR-GARCH volatility of each symbol, fitted by maximum likelihood;
- `student_t_mc`: EWMA volatilities, shocks drawn from a multivariate Student t.

A shock is one day's row of residuals across all symbols, so dependence between them is kept. Over a
horizon of several bars shocks are drawn with replacement and the filter walks along each path;
`horizon_rule` `square_root` scales one-bar scenarios instead. Returns are simple and compound, and
none is below -1. `walk` moves the filter and the window forward day by day without a refit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
    check_rows,
)
from pipelines.architectures.hyperparameters import Space, resolve
from pipelines.architectures.spaces import SPACES
from pipelines.architectures.volatility_filters import Ewma, Flat, VolatilityFilter, run
from registry.contract import Json
from registry.errors import ShapeError, TooLittleHistoryError, ValueRangeError
from registry.flavors import NativeModel
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.scenarios import Scenarios

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shocks:
    """Where the shocks of a scenario come from.

    `drawn` are fixed rows (n, n_symbols); None takes the newest `window` residuals. `order` is None
    for one bar ahead (each row is one scenario), else the row that each path takes at each of its
    bars, (n_paths, horizon_bars). `scale` multiplies the result (the square-root rule).
    """

    drawn: Array | None
    order: NDArray[np.intp] | None
    scale: float


class ScenarioEstimator(Estimator):
    """A fitted scenario matrix and the filter behind it."""

    is_rolling = True

    def __init__(
        self, volatility: VolatilityFilter, shocks: Shocks, window: int, returns: Array
    ) -> None:
        self._volatility, self._shocks, self._window = volatility, shocks, window
        filtered = run(volatility, returns)
        self._losses = self._at(filtered.residuals, filtered.variance[-1]).astype(np.float32)
        self.n_scores = len(self._losses)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the losses of portfolios with weights X: (n, n_symbols) -> (n, n_scenarios)."""
        return np.asarray(X @ self._losses.T, dtype=np.float32)

    def walk(
        self, past: NDArray[np.float32], now: NDArray[np.float32], spec: Mapping[str, Json]
    ) -> NDArray[np.float32]:
        """Return the losses of the portfolio `spec["weights"]` at each row of `now`.

        Parameters stay as they were fitted; volatility and window move with each row. Law: after
        the rows of the fit the answer is `predict(weights)`.

        Raises:
            TooLittleHistoryError: fewer than `window` - 1 rows of `past`.
        """
        weights = np.asarray(spec["weights"], dtype=np.float64)
        kept = self._window - 1
        if len(past) < kept:
            raise TooLittleHistoryError("walking scenarios", kept, len(past), "lower the window")
        returns = np.concatenate([past[len(past) - kept :], now]).astype(np.float64)
        filtered = run(self._volatility, returns)
        found = np.empty((len(now), self.n_scores), np.float32)
        for i in range(len(now)):
            residuals = filtered.residuals[i : i + self._window]
            found[i] = self._at(residuals, filtered.variance[i + kept]) @ weights
        return found

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the share of each symbol in the sum of |weight| times its scenarios' deviation."""
        size = np.abs(X).mean(axis=0, dtype=np.float64) * self._losses.std(axis=0, dtype=np.float64)
        total = size.sum()
        return size / total if total > 0 else np.full(len(size), 1.0 / len(size))

    def native(self) -> NativeModel:
        """Return the matrix as named arrays."""
        return save_arrays(Scenarios(self._losses))

    def _at(self, residuals: Array, variance: Array) -> Array:
        """Return the losses (n_scenarios, n_symbols) after a day with this state."""
        shocks = residuals if self._shocks.drawn is None else self._shocks.drawn
        mean = self._volatility.mean
        if self._shocks.order is None:
            returns = self._shocks.scale * (mean + np.sqrt(variance) * shocks)
            return -np.maximum(returns, -1.0)
        return -self._compounded(shocks, variance, self._shocks.order)

    def _compounded(self, shocks: Array, variance: Array, order: NDArray[np.intp]) -> Array:
        wealth = np.ones((len(order), shocks.shape[1]))
        for rows in order.T:
            shock = np.sqrt(variance) * shocks[rows]
            wealth *= np.maximum(1.0 + self._volatility.mean + shock, 0.0)
            variance = self._volatility.step(variance, shock)
        return wealth - 1.0


FitFilter = Callable[[Array, Sequence[str], Mapping[str, Json], FitContext], VolatilityFilter]
Draw = Callable[[Array, int, int, FitContext], Array]


@dataclass(frozen=True, slots=True)
class ScenarioArchitecture(Architecture):
    """One way to make scenarios.

    `fit_filter` takes returns (n, n_symbols), the symbols and the parameters; `draw` takes
    residuals, the number of rows and a seed, and None means that shocks are the residuals
    themselves.
    """

    name: str
    space: Space
    fit_filter: FitFilter
    draw: Draw | None = None
    native_format: str = "arrays"
    default_window: int = 1
    objectives: tuple[Loss, ...] = ("scenarios",)

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit on the newest `window` rows of returns.

        Raises:
            ParameterError: an unknown parameter or a value of the wrong kind or range.
            TooLittleHistoryError: fewer rows than `window`.
            ValueRangeError: a return that is not above -1, or a symbol whose price never moves.
            FitError: a GARCH fit did not converge.
        """
        chosen = resolve(self.space, parameters)
        check_rows(rows, objective)
        window, n_paths = cast(int, chosen["window"]), cast(int, chosen["paths"])
        symbols = rows.columns or tuple(f"number {i}" for i in range(rows.X.shape[-1]))
        returns = _newest(rows.X, window, symbols)
        volatility = self.fit_filter(returns, symbols, chosen, context)
        horizon = 1 if chosen["horizon_rule"] == "square_root" else objective.horizon_bars
        drawn = None
        if self.draw is not None:
            drawn = self.draw(run(volatility, returns).residuals, n_paths * horizon, seed, context)
        order = None if horizon == 1 else _order(drawn, (n_paths, horizon), window, seed)
        shocks = Shocks(drawn, order, math.sqrt(objective.horizon_bars / horizon))
        return ScenarioEstimator(volatility, shocks, window, returns)


def _newest(X: NDArray[np.float32], window: int, symbols: Sequence[str]) -> Array:
    if X.ndim != 2:
        raise ShapeError("returns", "(n_dates, n_symbols), so window=1", str(X.shape))
    if len(X) < window:
        hint = "read more bars, or lower it: parameters '{\"window\": 250}'"
        raise TooLittleHistoryError("a window of returns", window, len(X), hint)
    returns = X[len(X) - window :].astype(np.float64)
    if not (returns > -1).all():  # false for NaN too
        raise ValueRangeError("return", float(returns.min()), "simple returns above -1")
    still = np.flatnonzero(np.ptp(returns, axis=0) == 0)
    if len(still):
        expected = f"prices that move within the newest {window} bars"
        raise ValueRangeError(
            f"returns of symbol {symbols[still[0]]}", float(returns[0, still[0]]), expected
        )
    return returns


def _order(drawn: Array | None, shape: tuple[int, int], window: int, seed: int) -> NDArray[np.intp]:
    """Return the number of the shock at each bar of each path; every drawn shock is used once."""
    if drawn is not None:
        return np.arange(len(drawn)).reshape(shape)
    return np.random.default_rng(seed).integers(0, window, shape)


def _flat(
    returns: Array, _symbols: Sequence[str], _chosen: Mapping[str, Json], _context: FitContext
) -> VolatilityFilter:
    return Flat(np.zeros(returns.shape[1]))


def _ewma(
    returns: Array, _symbols: Sequence[str], chosen: Mapping[str, Json], _context: FitContext
) -> VolatilityFilter:
    return Ewma(np.zeros(returns.shape[1]), cast(float, chosen["decay"]))


def _gjr(
    returns: Array, symbols: Sequence[str], chosen: Mapping[str, Json], context: FitContext
) -> VolatilityFilter:
    from pipelines.architectures.garch import fit_gjr

    may_fall_back = chosen["on_failure"] == "ewma"
    return fit_gjr(returns, symbols, may_fall_back=may_fall_back, notice=context.notice)


def _student_t(residuals: Array, n_rows: int, seed: int, context: FitContext) -> Array:
    from pipelines.architectures.student_t import draw, fit_student_t

    return draw(fit_student_t(residuals), n_rows, seed, context.device)


HISTORICAL = ScenarioArchitecture("historical", SPACES["historical"], _flat)
EWMA_FHS = ScenarioArchitecture("ewma_fhs", SPACES["ewma_fhs"], _ewma)
GJR_GARCH_FHS = ScenarioArchitecture("gjr_garch_fhs", SPACES["gjr_garch_fhs"], _gjr)
STUDENT_T_MC = ScenarioArchitecture("student_t_mc", SPACES["student_t_mc"], _ewma, _student_t)
