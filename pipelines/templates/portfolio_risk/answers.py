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
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.method import risk_measures as risk
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError

Array = NDArray[np.float64]

LEVELLED = ("var", "cvar", "component_var", "marginal_var", "component_cvar")
PLAIN = ("volatility", "max_drawdown", "sharpe_ratio", "beta")
USUAL = ("var_95", "cvar_95", "var_99", "cvar_99", *PLAIN)
"""What an answer holds when the request names no measure."""
KNOWN = (
    *(f"{name}_NN" for name in LEVELLED),
    *PLAIN,
)
LEVEL_PATTERN = re.compile(rf"({'|'.join(LEVELLED)})_([5-9]\d(?:\.\d{{1,2}})?)")
METHODS = {
    "historical": "historical simulation",
    "ewma_fhs": "filtered historical simulation, EWMA volatilities",
    "gjr_garch_fhs": "filtered historical simulation, GJR-GARCH(1,1) volatilities",
    "student_t_mc": "Monte Carlo, multivariate Student t with EWMA volatilities",
}


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
) -> dict[str, Any]:
    """Return the measures of one portfolio, and how they were computed.

    Args:
        losses: of the portfolio in every scenario, (n_scenarios,).
        weights: (n_symbols,) in the order of `contract.symbols`.
    """
    measures = [parse_measure(name) for name in names]
    found: dict[str, Any] = {
        m.name: _levelled(m, losses, weights, decoder, contract)
        if m.level is not None
        else _plain(m.statistic, losses, weights, decoder, contract)
        for m in measures
    }
    statistics = {m.statistic for m in measures}
    bases = {s: text for s, text in _bases(decoder, contract).items() if s in statistics}
    return {
        **found,
        "method": _method(len(losses), contract),
        "bases": bases,
        "horizon": contract.horizon,
        "gross_exposure": float(np.abs(weights).sum()),
    }


def _levelled(
    measure: Measure, losses: Array, weights: Array, decoder: Decoder, contract: ModelContract
) -> Any:
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
