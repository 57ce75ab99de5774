"""Answers of `portfolio_risk`: the measures that a request may ask for, and how each is computed.

Losses, values at risk and drawdowns are positive fractions of the portfolio's value over the
version's horizon. VaR, ES, components and volatility look ahead: they come from the version's
scenarios. Drawdown, Sharpe ratio and beta look back: they come from the newest returns kept with
the version, for a portfolio held at these weights all along. Every answer says so in `method` and
`bases`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method import risk_measures as risk
from pipelines.templates.answer_fields import Entry, Interval, Meaning, Open
from pipelines.templates.answer_frames import Types, type_of, types_of
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError

Array = NDArray[np.float64]

OF_VALUE = "fraction of the portfolio's value"
PAST = "of the *realised* path of these constant weights over the newest `measures_window` returns"
BY_SYMBOL = Mapping[str, float]
MEASURES = Open(
    {
        "var_NN": Entry(
            float,
            Meaning(
                "value at risk: the NN % quantile of the scenarios' losses (linear interpolation)",
                OF_VALUE,
            ),
        ),
        "cvar_NN": Entry(
            float, Meaning("expected shortfall: mean of the losses at or beyond it", OF_VALUE)
        ),
        "component_var_NN": Entry(
            BY_SYMBOL,
            Meaning(
                "by symbol; delta-normal with the scenarios' covariance, sums to `var_NN`", OF_VALUE
            ),
        ),
        "marginal_var_NN": Entry(
            BY_SYMBOL,
            Meaning("by symbol: change of that value at risk per unit of weight", OF_VALUE),
        ),
        "component_cvar_NN": Entry(
            BY_SYMBOL,
            Meaning(
                "by symbol: mean of weight times loss in the tail, sums to `cvar_NN`", OF_VALUE
            ),
        ),
        "volatility": Entry(
            float, Meaning("standard deviation of the scenarios, annualised", OF_VALUE)
        ),
        "max_drawdown": Entry(float, Meaning(f"largest fall from a peak {PAST}", OF_VALUE)),
        "sharpe_ratio": Entry(
            float | None,
            Meaning(f"{PAST}, annualised, cash at 0", "ratio", "the path never moves"),
        ),
        "beta": Entry(
            float | None,
            Meaning(
                "cov(r, m) / var(m) over the same returns, Ledoit-Wolf covariance",
                "ratio",
                "the market never moves",
            ),
        ),
    }
)
"""What a request may ask for; NN is a level in percent, 50 to 99.99."""
KNOWN = tuple(MEASURES.entries)
LEVELLED = tuple(name.removesuffix("_NN") for name in KNOWN if name.endswith("_NN"))
PLAIN = tuple(name for name in KNOWN if not name.endswith("_NN"))
EVERY_MEASURE = (*PLAIN, *(f"{name}_{level}" for name in LEVELLED for level in (95, 97.5)))
"""Each measure, at two levels where it has one."""
USUAL = ("var_95", "cvar_95", "var_99", "cvar_99", *PLAIN)
"""What an answer holds when the request names no measure."""
LEVEL_PATTERN = re.compile(rf"({'|'.join(LEVELLED)})_([5-9]\d(?:\.\d{{1,2}})?)")
BASED = (*PLAIN, *(name for name in LEVELLED if name not in ("var", "cvar")))
"""Measures (without level) that `bases` says something of."""
METHODS = {
    "historical": "historical simulation",
    "ewma_fhs": "filtered historical simulation, EWMA volatilities",
    "gjr_garch_fhs": "filtered historical simulation, GJR-GARCH(1,1) volatilities",
    "student_t_mc": "Monte Carlo, multivariate Student t with EWMA volatilities",
}


INTERVAL_LEVEL = 0.9
FEWEST_FOR_INTERVAL = 20
"""Scenarios without which no scenario lies beyond an end of the interval."""

Measured = float | Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class PortfolioRiskAnswer:
    """What a portfolio may lose over the version's horizon."""

    measures: Annotated[Mapping[str, Measured], MEASURES]
    method: Annotated[str, Meaning("how the losses were made")]
    bases: Annotated[
        Mapping[str, str],
        Meaning("measure (without level) -> the window and the method behind it, where it has one"),
    ]
    horizon: Annotated[str, Meaning("what the losses are over")]
    gross_exposure: Annotated[
        float, Meaning("sum of absolute weights; above 1 with short positions", "ratio")
    ]
    interval: Annotated[
        Interval | None,
        Meaning(
            "of the portfolio's return over the horizon: the central 90 % of the scenarios, so "
            "`lower` is -`var_95`",
            OF_VALUE,
            f"there are fewer than {FEWEST_FOR_INTERVAL} scenarios",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure that was asked for: `statistic` is its name without the level."""

    name: str
    statistic: str
    level: float | None = None
    """A probability, None for a statistic without one."""


def parse_measure(name: str) -> Measure:
    """Return the measure of a name like `var_95`, `cvar_97.5` or `max_drawdown`.

    Raises:
        ParameterError: no measure is called so; the message lists those that are.
    """
    if name in PLAIN:
        return Measure(name, name)
    found = LEVEL_PATTERN.fullmatch(name)
    if found is None:
        expected = f"one of {', '.join(KNOWN)} with NN a level in percent, 50 to 99.99"
        raise ParameterError("risk_metrics", name, expected)
    return Measure(name, found[1], float(found[2]) / 100)


def check_measures(names: Sequence[str], n_scenarios: int) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        ParameterError: an unknown name, or a level with no scenario beyond it.
    """
    for name in names:
        level = parse_measure(name).level
        if level is not None and (1 - level) * n_scenarios < 1:
            highest = 100 * (1 - 1 / n_scenarios)
            expected = f"a level up to {highest:.4g} %, which {n_scenarios} scenarios can tell"
            raise ParameterError("risk_metrics", name, expected)
    return tuple(dict.fromkeys(names))


def column_types(names: Sequence[str], contract: ModelContract) -> Types:
    """Return column -> type of answers with these measures; without any the usual ones.

    A measure by symbol is a struct of the version's symbols, null for those not held.
    """
    measures = [parse_measure(name) for name in names or USUAL]
    entries = {
        m.name: MEASURES.entries[m.name if m.level is None else f"{m.statistic}_NN"].type
        for m in measures
    }
    found = {name: type_of(kind, contract.symbols) for name, kind in entries.items()}
    based = {m.statistic: None for m in measures if m.statistic in BASED}
    return found | types_of(PortfolioRiskAnswer, tuple(based))


def asked(context: Mapping[str, Array], row: int) -> tuple[str, ...]:
    """Return the measures whose flag is 1 in the context of a row; without any the usual ones."""
    found = tuple(
        name
        for name, flags in context.items()
        if (name in PLAIN or LEVEL_PATTERN.fullmatch(name)) and flags[row] == 1
    )
    return found or USUAL


def answer(
    losses: Array,
    weights: Array,
    names: Sequence[str],
    decoder: Decoder,
    contract: ModelContract,
) -> PortfolioRiskAnswer:
    """Return the measures of one portfolio, and how they were computed.

    Args:
        losses: of the portfolio in every scenario, (n_scenarios,).
        weights: (n_symbols,) in the order of `contract.symbols`.
    """
    measures = [parse_measure(name) for name in names]
    found = {
        m.name: _levelled(m, losses, weights, decoder, contract)
        if m.level is not None
        else _plain(m.statistic, losses, weights, decoder, contract)
        for m in measures
    }
    statistics = {m.statistic for m in measures}
    return PortfolioRiskAnswer(
        measures=found,
        method=_method(len(losses), contract),
        bases={s: text for s, text in _bases(decoder, contract).items() if s in statistics},
        horizon=contract.horizon,
        gross_exposure=float(np.abs(weights).sum()),
        interval=_interval(losses),
    )


def _interval(losses: Array) -> Interval | None:
    if len(losses) < FEWEST_FOR_INTERVAL:
        return None
    tail = (1 - INTERVAL_LEVEL) / 2
    lower, upper = -np.quantile(losses, (1 - tail, tail))
    return Interval(float(lower), float(upper), INTERVAL_LEVEL)


def _levelled(
    measure: Measure, losses: Array, weights: Array, decoder: Decoder, contract: ModelContract
) -> Measured:
    level = cast(float, measure.level)
    if measure.statistic == "var":
        return float(risk.value_at_risk(losses, level))
    if measure.statistic == "cvar":
        return float(risk.expected_shortfall(losses, level))
    parts = risk.breakdown(decoder.arrays["losses"], weights, level)
    values = {
        "component_var": parts.component_var,
        "marginal_var": parts.marginal_var,
        "component_cvar": parts.component_es,
    }[measure.statistic]
    held = np.flatnonzero(weights)
    return {contract.symbols[i]: float(values[i]) for i in held}


def _plain(
    statistic: str, losses: Array, weights: Array, decoder: Decoder, contract: ModelContract
) -> float | None:
    bars_per_year = cast(float, decoder.facts["bars_per_year"])
    if statistic == "volatility":
        return float(losses.std(ddof=1) * np.sqrt(bars_per_year / contract.horizon_bars))
    path = decoder.arrays["returns"] @ weights
    if statistic == "max_drawdown":
        return risk.max_drawdown(path)
    if statistic == "sharpe_ratio":
        return risk.annual_sharpe(path, bars_per_year)
    return risk.beta(decoder.arrays["covariance"], weights, _market(contract))


def _market(contract: ModelContract) -> Array:
    named, n_symbols = contract.label_spec.get("market"), len(contract.symbols)
    if not named:
        return np.full(n_symbols, 1 / n_symbols)
    market = np.zeros(n_symbols)
    market[contract.symbols.index(str(named))] = 1.0
    return market


def _method(n_scenarios: int, contract: ModelContract) -> str:
    text = METHODS.get(contract.architecture, contract.architecture)
    if contract.horizon_bars > 1:
        is_scaled = contract.parameters.get("horizon_rule") == "square_root"
        text += ", one bar scaled by the square root of time" if is_scaled else ", simulated paths"
    return f"{contract.architecture}: {text}, {n_scenarios} scenarios"


def _bases(decoder: Decoder, contract: ModelContract) -> dict[str, str]:
    n_returns = decoder.facts["n_returns"]
    past = f"newest {n_returns} returns at constant weights"
    market = contract.label_spec.get("market") or "the equal-weight universe"
    shrinkage = cast(float, decoder.facts["shrinkage"])
    delta = "delta-normal with the scenarios' covariance, sums to the VaR"
    return {
        "volatility": "of the scenarios, annualised",
        "max_drawdown": f"realised path, {past}",
        "sharpe_ratio": f"annualised, cash at 0, {past}",
        "beta": f"against {market}, {past}, Ledoit-Wolf covariance (shrinkage {shrinkage:.3f})",
        "component_var": delta,
        "marginal_var": "change of that VaR per unit of weight",
        "component_cvar": "mean of weight times loss in the tail, sums to the CVaR",
    }
