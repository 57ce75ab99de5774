"""POST /predict about a portfolio: the measures asked for, one line for each way to be wrong."""

import io
from dataclasses import replace

import numpy as np
import pytest

from monitoring.prediction_log import read_predictions
from pipelines.method.risk_measures import expected_shortfall, value_at_risk
from pipelines.recipes.inputs.portfolio import FINGERPRINT
from pipelines.templates.portfolio_risk.answers import USUAL
from registry.contract import TensorSpec, tensor_input
from registry.decoder import Decoder
from registry.version_files import CONTRACT_FILE, GOLDEN_FILE, RECORD_FILE
from serving import examples
from serving.loading import load

MODEL, SYMBOLS, N_SCENARIOS = "portfolio_risk", ("AAPL", "KO", "MSFT"), 400
LOSSES = (0.01 * np.random.default_rng(0).standard_t(4, (N_SCENARIOS, 3))).astype(np.float32)


def onnx_of(losses: np.ndarray) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "losses"], ["scores"])],
        "scenarios",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, N_SCENARIOS])],
        [numpy_helper.from_array(np.ascontiguousarray(losses.T), "losses")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def write_portfolio(directory, base) -> None:
    returns = -LOSSES[:300].astype(np.float64)
    contract = replace(
        base,
        model_id=MODEL,
        template=MODEL,
        architecture="ewma_fhs",
        feature_set="portfolio_returns",
        feature_names=SYMBOLS,
        feature_fingerprint=FINGERPRINT,
        symbols=SYMBOLS,
        inputs=tensor_input(3, 1),
        outputs=TensorSpec("scores", "float32", (None, N_SCENARIOS)),
        horizon="1d",
        horizon_bars=1,
        native_format="arrays",
        label_spec={"market": "", "level": 0.99},
        data=replace(base.data, end="2004-01-01T00:00:00+00:00"),
    )
    decoder = Decoder(
        {"n_returns": 300, "shrinkage": 0.1, "bars_per_year": 252.0},
        {"returns": returns, "covariance": np.cov(returns, rowvar=False), "losses": LOSSES},
    )
    golden, weights = io.BytesIO(), np.eye(3, dtype=np.float32)
    np.savez(golden, features=weights, scores=weights @ LOSSES.T)
    files = {
        CONTRACT_FILE: contract.to_json().encode(),
        RECORD_FILE: b"[]",
        GOLDEN_FILE: golden.getvalue(),
        "onnx/model.onnx": onnx_of(LOSSES),
        **decoder.to_files(),
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


@pytest.fixture(scope="module")
def portfolio_version(tmp_path_factory, request):
    from tests.serving import conftest as serving  # the tiny version's contract is the base

    directory = tmp_path_factory.mktemp("portfolio")
    write_portfolio(directory, serving.contract_of())
    *_, version = load(serving.files_of(directory, MODEL), MODEL, 1, is_measured=False)
    return version


@pytest.fixture
def ask(client, app, portfolio_version):
    models = app.state.service.models
    models.learn({"volatility_forecast": {"production": 1}, MODEL: {"production": 1}})
    models.serve(portfolio_version)

    def post(*positions, **fields):
        body = {"model_type": MODEL, "portfolio": {"positions": list(positions)}, **fields}
        return client.post("/predict", json=body)

    return post


def at(symbol, **fields):
    return {"symbol": symbol, **fields}


HALVES = (at("AAPL", weight=0.5), at("MSFT", weight=0.5))


def answer_of(response):
    assert response.status_code == 200, response.text
    return response.json()["predictions"]["portfolio"]


def message_of(response, status=422):
    assert response.status_code == status, response.text
    return response.json()["error"]["message"]


def test_the_form_of_the_example_is_answered(client, ask) -> None:
    ask(*HALVES)
    response = client.post("/predict", json=examples.PORTFOLIO)
    found = answer_of(response)
    assert {"var_95", "cvar_95", "max_drawdown", "sharpe_ratio"} <= set(found)
    assert "beta" not in found
    losses = 0.6 * LOSSES[:, 0] + 0.4 * LOSSES[:, 2]
    assert found["var_95"] == pytest.approx(float(value_at_risk(losses, 0.95)), rel=1e-5)
    assert found["cvar_95"] == pytest.approx(float(expected_shortfall(losses, 0.95)), rel=1e-5)
    assert "ewma_fhs" in found["method"]
    assert "realised" in found["bases"]["max_drawdown"]
    assert response.json()["ignored"] == [
        "portfolio.positions[0].shares (weight is given)",
        "portfolio.positions[1].shares (weight is given)",
    ]


def test_without_measures_the_usual_ones_are_answered(ask) -> None:
    found = answer_of(ask(*HALVES))
    assert set(USUAL) <= set(found)
    assert found["as_of"] == "2004-01-01T00:00:00Z"
    assert found["gross_exposure"] == pytest.approx(1.0)


def test_five_measures_and_the_interval_stand_beside_the_answer(ask) -> None:
    response = ask(*HALVES)
    found, whole = answer_of(response), response.json()
    names = ("var_95", "cvar_95", "max_drawdown", "sharpe_ratio", "beta")
    assert whole["risk_assessment"] == {name: found[name] for name in names}
    assert None not in whole["risk_assessment"].values()
    interval = whole["confidence_interval"]
    assert interval == found["interval"]
    returns = -(0.5 * LOSSES[:, 0] + 0.5 * LOSSES[:, 2])
    assert interval["level"] == 0.9
    assert interval["lower"] == pytest.approx(np.quantile(returns, 0.05), rel=1e-5)
    assert interval["lower"] == pytest.approx(-found["var_95"], rel=1e-6)
    assert interval["upper"] == pytest.approx(np.quantile(returns, 0.95), rel=1e-5)


def test_a_measure_that_was_not_asked_for_is_null_beside_the_answer(ask) -> None:
    whole = ask(*HALVES, risk_metrics=["beta", "var_99"]).json()
    beta = whole["predictions"]["portfolio"]["beta"]
    nothing = dict.fromkeys(("var_95", "cvar_95", "max_drawdown", "sharpe_ratio"))
    assert whole["risk_assessment"] == {"beta": beta, **nothing}
    assert "var_95" not in whole["predictions"]["portfolio"]
    assert whole["confidence_interval"]["level"] == 0.9


def test_without_an_answer_everything_beside_it_is_null(ask, app, portfolio_version) -> None:
    broken = replace(
        portfolio_version.options[0], predictor=lambda X: np.full((len(X), 400), np.nan, np.float32)
    )
    app.state.service.models.serve(replace(portfolio_version, options=(broken,)))
    whole = ask(*HALVES).json()
    assert whole["predictions"] == {}
    assert whole["errors"]["portfolio"]["code"] == "value_range"
    assert set(whole["risk_assessment"].values()) == {None}
    assert whole["confidence_interval"] is None


def test_components_are_by_symbol_and_sum(ask) -> None:
    names = ["cvar_97.5", "component_cvar_97.5", "var_99", "component_var_99"]
    found = answer_of(ask(*HALVES, risk_metrics=names))
    assert set(found["component_cvar_97.5"]) == {"AAPL", "MSFT"}
    total = sum(found["component_cvar_97.5"].values())
    assert total == pytest.approx(found["cvar_97.5"], rel=1e-5)
    assert sum(found["component_var_99"].values()) == pytest.approx(found["var_99"], rel=1e-5)


def test_a_short_position_is_a_negative_weight(ask) -> None:
    found = answer_of(ask(at("AAPL", weight=1.4), at("KO", weight=-0.4)))
    assert found["gross_exposure"] == pytest.approx(1.8)
    losses = 1.4 * LOSSES[:, 0] - 0.4 * LOSSES[:, 1]
    assert found["var_99"] == pytest.approx(float(value_at_risk(losses, 0.99)), rel=1e-5)


def test_shares_are_weighted_by_the_last_closes_held(ask, post_history, make) -> None:
    post_history("AAPL", "MSFT")
    shares = {"AAPL": 10.0, "MSFT": 30.0}
    value = {s: n * make.bars(s)["close"][-1] for s, n in shares.items()}
    found = answer_of(ask(*(at(s, shares=n) for s, n in shares.items())))
    weight = value["AAPL"] / sum(value.values())
    losses = weight * LOSSES[:, 0] + (1 - weight) * LOSSES[:, 2]
    assert found["var_95"] == pytest.approx(float(value_at_risk(losses, 0.95)), rel=1e-4)
    assert found["history_end"] is not None
    assert found["price_basis"] == "adjusted"


@pytest.mark.parametrize(
    ("positions", "fields", "text"),
    [
        ([at("AAPL", weight=0.5), at("KO", weight=0.4)], {}, "weights: expected 1 within 0.001"),
        ([at("AAPL", weight=0.5), at("AAPL", weight=0.5)], {}, "each symbol once"),
        ([at("AAPL", weight=0.5), at("TSLA", weight=0.5)], {}, "'TSLA' is not in the returns"),
        ([at("AAPL", weight=1.0), at("KO", shares=5)], {}, "a weight for every position"),
        ([at("AAPL")], {}, "a weight for every position"),
        ([at("AAPL", shares=5), at("KO", shares=-5)], {"_post": True}, "worth more than nothing"),
        (
            HALVES,
            {"time_horizon": "10d"},
            "this horizon is not served by portfolio_risk v1; available: 1d",
        ),
        (HALVES, {"risk_metrics": ["var95"]}, "var_NN, cvar_NN"),
        (HALVES, {"risk_metrics": ["var_99.9"]}, "400 scenarios can tell"),
        (HALVES, {"symbols": ["AAPL"]}, "cannot be combined with symbols"),
        ([at("AAPL", weight=1e9), at("KO", weight=1 - 1e9)], {}, "at most 1e+06"),
        ([], {}, "portfolio.positions"),
        ([at("AAPL", weight="1")], {}, "weight"),
        ([at("AAPL", weight=1, side="long")], {}, "side"),
    ],
)
def test_what_is_wrong_is_one_line(ask, post_history, positions, fields, text) -> None:
    if fields.pop("_post", None):
        post_history("AAPL", "KO")
        positions = [at("AAPL", shares=1), at("KO", shares=-1000)]
    message = message_of(ask(*positions, **fields))
    assert text in message
    assert "\n" not in message


def test_shares_of_a_symbol_without_bars_are_refused(ask) -> None:
    assert "post its bars" in message_of(ask(at("AAPL", shares=5)), 404)


def test_a_portfolio_is_refused_by_a_model_of_bars_and_bars_by_one_of_portfolios(
    client, ask
) -> None:
    ask(*HALVES)
    body = {"model": "volatility_forecast", "portfolio": {"positions": list(HALVES)}}
    assert "portfolio" in message_of(client.post("/predict", json=body))
    body = {"model": MODEL, "symbols": ["AAPL"]}
    assert "positions" in message_of(client.post("/predict", json=body))
    body = {"model": MODEL, "symbols": ["AAPL"], "risk_metrics": ["beta"]}
    assert "belongs to portfolio" in message_of(client.post("/predict", json=body))


def test_the_answer_is_logged_with_its_weights(ask, app, settings) -> None:
    ask(*HALVES)
    app.state.service.log.close()
    logged = read_predictions(settings.predictions_dir, MODEL)
    assert logged["symbol"].to_list() == ["portfolio"]
    assert logged["features"].to_list()[0] == [0.5, 0.0, 0.5]
    assert logged["source_kind"].to_list() == ["portfolio"]
