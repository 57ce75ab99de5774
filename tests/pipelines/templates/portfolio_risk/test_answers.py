"""Answers about a portfolio: names of measures, their levels, and what they are computed from."""

from dataclasses import replace

import empyrical
import numpy as np
import pytest

from pipelines.method.risk_measures import expected_shortfall, ledoit_wolf, value_at_risk
from pipelines.templates.answer_fields import as_json
from pipelines.templates.portfolio_risk import answers as answers
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError
from tests.examples import make_contract

SYMBOLS = ("AAA", "BBB", "CCC")
RNG = np.random.default_rng(0)
LOSSES = (0.01 * RNG.standard_t(4, (2000, 3))).astype(np.float32)
RETURNS = 0.01 * RNG.standard_normal((500, 3)) + 0.004 * RNG.standard_normal((500, 1))
WEIGHTS = np.array([0.7, 0.5, -0.2])
EVERYTHING = (
    *answers.USUAL,
    "component_var_95",
    "marginal_var_95",
    "component_cvar_95",
)


@pytest.fixture
def decoder() -> Decoder:
    covariance, shrinkage = ledoit_wolf(RETURNS)
    return Decoder(
        {"n_returns": 500, "shrinkage": shrinkage, "bars_per_year": 252.0},
        {"returns": RETURNS, "covariance": covariance, "losses": LOSSES},
    )


@pytest.fixture
def contract() -> ModelContract:
    return make_contract(
        n_scores=2000,
        template="portfolio_risk",
        architecture="ewma_fhs",
        feature_names=SYMBOLS,
        symbols=SYMBOLS,
        horizon="1d",
        horizon_bars=1,
        native_format="arrays",
        label_spec={"market": ""},
        parameters={"horizon_rule": "simulate"},
    )


@pytest.fixture
def ask(decoder, contract):
    def answer(*names, weights=WEIGHTS, **changes):
        losses = LOSSES.astype(np.float64) @ weights
        changed = replace(contract, **changes)
        return as_json(answers.answer(losses, weights, names, decoder, changed))

    return answer


@pytest.mark.parametrize(
    ("name", "statistic", "level"),
    [
        ("var_95", "var", 0.95),
        ("cvar_97.5", "cvar", 0.975),
        ("component_cvar_99", "component_cvar", 0.99),
        ("beta", "beta", None),
    ],
)
def test_a_name_says_statistic_and_level(name, statistic, level) -> None:
    found = answers.parse_measure(name)
    assert (found.statistic, found.name) == (statistic, name)
    assert found.level == (None if level is None else pytest.approx(level))


@pytest.mark.parametrize("name", ["var", "var_5", "var_100", "VAR_95", "cvar_", "es_95", "beta_95"])
def test_an_unknown_name_lists_the_known_ones(name) -> None:
    with pytest.raises(ParameterError, match=r"var_NN.*component_cvar_NN.*max_drawdown.*beta"):
        answers.parse_measure(name)


def test_a_level_beyond_the_scenarios_is_refused() -> None:
    assert answers.check_measures(["var_99", "beta", "var_99"], 1000) == ("var_99", "beta")
    with pytest.raises(ParameterError, match=r"99\.9 %, which 1000 scenarios"):
        answers.check_measures(["var_99.95"], 1000)


def test_measures_of_the_past_are_empyrical_s(ask) -> None:
    found, path = ask("max_drawdown", "sharpe_ratio"), RETURNS @ WEIGHTS
    assert found["max_drawdown"] == pytest.approx(-empyrical.max_drawdown(path))
    assert found["sharpe_ratio"] == pytest.approx(empyrical.sharpe_ratio(path))


def test_measures_of_the_future_come_from_the_scenarios(ask) -> None:
    found, losses = ask("var_95", "cvar_99", "volatility"), LOSSES.astype(np.float64) @ WEIGHTS
    assert found["var_95"] == pytest.approx(float(value_at_risk(losses, 0.95)))
    assert found["cvar_99"] == pytest.approx(float(expected_shortfall(losses, 0.99)))
    assert found["volatility"] == pytest.approx(losses.std(ddof=1) * np.sqrt(252))


def test_volatility_of_a_longer_horizon_is_still_annual(ask) -> None:
    ratio = ask("volatility")["volatility"] / ask("volatility", horizon_bars=4)["volatility"]
    assert ratio == pytest.approx(2.0)


def test_the_market_has_beta_one(ask) -> None:
    assert ask("beta", weights=np.full(3, 1 / 3))["beta"] == pytest.approx(1.0)
    named = ask("beta", weights=np.array([0.0, 1.0, 0.0]), label_spec={"market": "BBB"})
    assert named["beta"] == pytest.approx(1.0)
    assert "against BBB" in named["bases"]["beta"]


def test_components_name_only_what_is_held(ask) -> None:
    found = ask("component_var_95", weights=np.array([0.5, 0.0, 0.5]))
    assert set(found["component_var_95"]) == {"AAA", "CCC"}


def test_every_answer_names_its_method_and_the_basis_of_each_measure(ask) -> None:
    found = ask(*EVERYTHING)
    assert found["method"].startswith("ewma_fhs: filtered historical simulation")
    assert "2000 scenarios" in found["method"]
    without_level = {name.partition("_9")[0] for name in EVERYTHING} - {"var", "cvar"}
    assert set(found["bases"]) == without_level
    assert found["gross_exposure"] == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("rule", "text"), [("simulate", "simulated paths"), ("square_root", "square root of time")]
)
def test_the_rule_of_a_longer_horizon_is_named(ask, rule, text) -> None:
    found = ask("var_95", horizon_bars=5, parameters={"horizon_rule": rule})
    assert text in found["method"]


def test_flags_of_the_context_choose_measures_row_by_row() -> None:
    context = {
        "var_95": np.array([1.0, 0.0, np.nan]),
        "beta": np.array([1.0, 1.0, np.nan]),
        "historical_var": np.ones(3),
    }
    assert answers.asked(context, 0) == ("var_95", "beta")
    assert answers.asked(context, 1) == ("beta",)
    assert answers.asked(context, 2) == answers.USUAL


def test_too_few_scenarios_have_no_interval(decoder, contract):
    few = LOSSES[:19].astype(np.float64) @ WEIGHTS
    assert answers.answer(few, WEIGHTS, ("volatility",), decoder, contract).interval is None
    enough = LOSSES[:20].astype(np.float64) @ WEIGHTS
    found = answers.answer(enough, WEIGHTS, ("volatility",), decoder, contract).interval
    assert found.lower == pytest.approx(-np.quantile(enough, 0.95))
    assert found.upper == pytest.approx(-np.quantile(enough, 0.05))
