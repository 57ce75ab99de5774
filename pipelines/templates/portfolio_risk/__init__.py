"""Template `portfolio_risk`: what a portfolio may lose over the next bars, and by which positions.

An architecture of `pipelines/architectures/scenarios.py` fits a matrix of losses (scenario,
symbol). A portfolio's losses are one product with its weights. Value at risk, expected shortfall
and their components are read off them (`pipelines/templates/portfolio_risk/answers.py`). Judged on
the equal-weight portfolio, day by day out of fold, by Kupiec, Christoffersen and Acerbi-Szekely
(`pipelines/templates/portfolio_risk/quality.py`, docs/templates/portfolio_risk.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from types import MappingProxyType
from typing import ClassVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Estimator, Objective
from pipelines.architectures.hyperparameters import Number, Space, Text
from pipelines.data.bars import BarSeries
from pipelines.method.metrics import bars_per_year
from pipelines.method.risk_backtests import pinball_loss
from pipelines.method.risk_measures import ledoit_wolf, value_at_risk
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.templates import Arrays, Evaluation, Template
from pipelines.templates.answer_frames import Types, frame_of
from pipelines.templates.portfolio_risk import answers, quality
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError, TooLittleHistoryError, UnknownSymbolError

Array = NDArray[np.float64]

NAME_OF_ROWS = "portfolio"
BASELINE_BARS, FEWEST_BARS = 1000, 100
"""Returns that the baselines look back on, and how many they need at least."""
EWMA_DECAY = 0.94
OPTIONS: Space = {
    "level": Number(0.99, 0.5, 0.999),
    "measures_window": Number(1000, 60, 100_000, is_integer=True),
    "market": Text(),
}


class PortfolioRisk(Template):
    """Scenarios of losses; the answer is the measures of a portfolio."""

    name = "portfolio_risk"
    inputs = "portfolio"
    feature_set = "portfolio_returns"
    architectures: tuple[str, ...] = ("ewma_fhs", "historical", "gjr_garch_fhs", "student_t_mc")
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]] = MappingProxyType({})
    answer_kinds = (answers.PortfolioRiskAnswer,)
    options: ClassVar[Space] = OPTIONS
    horizon_bars = 1
    loss_margin = 1e-5
    search_metrics: ClassVar[Mapping[str, str]] = {"pinball": "pinball"}
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = {
        "historical": ("pinball_historical", "pinball"),
        "ewma_normal": ("pinball_ewma_normal", "pinball"),
    }
    untouched_times = 290
    is_action = False

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return scenarios over the label's horizon; their number is the fit's."""
        return Objective("scenarios", 0, cast(int, spec.get("horizon_bars", self.horizon_bars)))

    def label_spec(
        self, horizon_bars: int | None, training: Sequence[BarSeries], options: Mapping[str, Json]
    ) -> dict[str, Json]:
        """Return horizon, judged level, the judged portfolio's weights, and the answer's options.

        Raises:
            ParameterError: `horizon_bars` below 1.
            UnknownSymbolError: the option `market` names a symbol that is not there.
        """
        horizon = self.horizon_bars if horizon_bars is None else horizon_bars
        if horizon < 1:
            raise ParameterError("horizon", horizon, "at least one bar")
        symbols = [series.symbol for series in training]
        market = cast(str, options["market"])
        if market and market not in symbols:
            raise UnknownSymbolError(market, "the training bars (option market)", symbols)
        return {
            "kind": "portfolio_loss",
            "horizon_bars": horizon,
            "level": options["level"],
            "weights": [1 / len(symbols)] * len(symbols),
            "market": market,
            "measures_window": options["measures_window"],
        }

    def target(self, y: Array, context: Arrays) -> tuple[Array, NDArray[np.bool_]]:
        """Return y. No scenario architecture uses it; a fit may use the rows that have one."""
        return y, np.isfinite(y)

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Keep the newest returns and their Ledoit-Wolf covariance, for the measures of the past.

        Raises:
            TooLittleHistoryError: fewer returns than a covariance needs.
        """
        wanted = cast(int, training.spec["measures_window"])
        returns = training.X[-wanted:].astype(np.float64)
        if len(returns) < 2:
            raise TooLittleHistoryError("measures of the past", 2, len(returns), "read more bars")
        covariance, shrinkage = ledoit_wolf(returns)
        facts: dict[str, Json] = {
            "n_returns": len(returns),
            "shrinkage": shrinkage,
            "bars_per_year": bars_per_year(training.t0, training.symbol),
        }
        return Decoder(facts, {"returns": returns, "covariance": covariance})

    def complete(self, decoder: Decoder, final: Estimator) -> Decoder:
        """Return the decoder with the fitted matrix of losses, which components are read off."""
        n_symbols = decoder.arrays["returns"].shape[1]
        losses = final.predict(np.eye(n_symbols, dtype=np.float32)).T
        return replace(decoder, arrays={**decoder.arrays, "losses": losses})

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> list[answers.PortfolioRiskAnswer]:
        """Return the measures of each portfolio; see `pipelines.templates.portfolio_risk.answers`.

        Args:
            scores: losses (n, n_scenarios), fractions of the portfolio's value.
            features: weights (n, n_symbols).
            context: measure name -> 1 where it was asked for; without any the usual ones.
        """
        return [
            answers.answer(
                scores[i].astype(np.float64),
                features[i].astype(np.float64),
                answers.asked(context, i),
                decoder,
                contract,
            )
            for i in range(len(scores))
        ]

    def answer_types(self, contract: ModelContract, asked: Sequence[str] = ()) -> Types:
        """Return the types of the measures asked for, and of what every answer has."""
        return answers.column_types(asked, contract)

    def decode_frame(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the same as columns, of every measure that the context names.

        Null where a portfolio did not ask for it. A portfolio costs a product with thousands of
        scenarios, so that an object for each weighs little.
        """
        found = self.decode(scores, features, context, decoder, contract, refusals)
        return frame_of(found, self.answer_types(contract, tuple(context)))

    def loss(self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder) -> Array:
        """Return the pinball loss of the value at risk at the judged level."""
        level = cast(float, rows.spec["level"])
        return pinball_loss(-rows.y, value_at_risk(scores, level), level)

    def baseline_loss(self, rows: LabelledRows, decoder: Decoder | None = None) -> Array:
        """Return the pinball loss of a historical simulation over the newest 1000 returns."""
        level = cast(float, rows.spec["level"])
        return pinball_loss(-rows.y, rows.context["historical_var"], level)

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge the losses forecast for the equal-weight portfolio."""
        return quality.judge(oof, spec)


def baselines(X: Array, spec: Mapping[str, Json]) -> dict[str, Array]:
    """Return two simple values at risk of the judged portfolio, known at each date, (n,) each.

    `historical_var`: the quantile of its newest 1000 overlapping returns over the horizon;
    `ewma_normal_var`: a normal with EWMA(0.94) variance, times the square root of the horizon.
    NaN before 100 returns.

    Args:
        X: simple returns (n, n_symbols).
    """
    level, horizon = cast(float, spec["level"]), cast(int, spec["horizon_bars"])
    path = X @ np.asarray(spec["weights"], dtype=np.float64)
    spanned = np.full(len(path), np.nan)
    if len(path) >= horizon:
        spanned[horizon - 1 :] = np.prod(_newest(1 + path, horizon), axis=1) - 1
    deviation = np.sqrt(_ewma_variance(path) * horizon)
    normal = NormalDist().inv_cdf(level) * deviation
    normal[: FEWEST_BARS - 1] = np.nan
    return {"historical_var": _rolling_var(-spanned, level), "ewma_normal_var": normal}


def _newest(values: Array, n: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(values, n)


def _rolling_var(losses: Array, level: float) -> Array:
    """Return at each date the quantile of the newest losses that are known, NaN below 100."""
    found = np.full(len(losses), np.nan)
    start = int(np.isnan(losses).sum())  # only the first are unknown
    for t in range(start + FEWEST_BARS - 1, min(start + BASELINE_BARS - 1, len(losses))):
        found[t] = np.quantile(losses[start : t + 1], level)
    if len(losses) - start >= BASELINE_BARS:
        windows = _newest(losses[start:], BASELINE_BARS)
        found[start + BASELINE_BARS - 1 :] = np.quantile(windows, level, axis=1)
    return found


def _ewma_variance(path: Array) -> Array:
    """Return the variance of the next return at each date, started by the first square."""
    variance, found = 0.0, np.empty(len(path))
    for t, square in enumerate(path**2):
        variance = (
            float(square) if t == 0 else EWMA_DECAY * variance + (1 - EWMA_DECAY) * float(square)
        )
        found[t] = variance
    return found


TEMPLATE = PortfolioRisk()
