"""Answers as columns where a conformance case has no such version: meta-labels, portfolios."""

import numpy as np
import polars as pl
import pytest

from pipelines.method.training_range import Distance
from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import as_json
from pipelines.templates.portfolio_risk.answers import KNOWN, USUAL, column_types
from pipelines.templates.trading_signals.answers import signal_answers
from pipelines.templates.trading_signals.columns import CODES, signal_frame
from pipelines.templates.trading_signals.decoder import Reading
from registry.decoder import Decoder
from tests.examples import make_contract

N = 400


def plain(value):
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def reading(rng, has_meta):
    p = rng.dirichlet((1, 1, 1), N)
    seen = Distance(3 * rng.random(N), rng.integers(0, 2, N))
    seen.score[::37] = np.nan
    meta = rng.random(N)
    meta[::29] = np.nan
    return Reading(p, seen, meta if has_meta else None, p[:, 2] - p[:, 0])


@pytest.mark.parametrize("refusals", [(), ("edge.dsr", "edge.pbo")])
@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("has_meta", [False, True])
def test_every_reason_against_a_signal_stands_in_its_row(refusals, threshold, has_meta):
    rng = np.random.default_rng(3)
    facts = {"threshold": threshold, "ece": None, "conformal": 1.6, "adaptive_alpha": 0.1}
    arrays = {
        "novelty.limit": np.array([2.5]),
        "class_return": np.array([-0.01, 0.0, 0.01]),
        "conformal": np.sort(rng.random(50)),
    }
    contract = make_contract(
        3,
        template="trading_signals",
        feature_names=("first", "second"),
        label_spec={"fill": "next_open", "path": "close"},
    )
    context = {"close": 100 * rng.random(N), "sigma": 0.02 * rng.random(N)}
    context["sigma"][::11] = np.nan
    asked = (reading(rng, has_meta), context, Decoder(facts, arrays), contract, refusals)
    wanted = [plain(as_json(answer)) for answer in signal_answers(*asked)]
    frame = signal_frame(*asked)
    assert [plain(row) for row in frame.to_dicts()] == wanted
    if not refusals and threshold is not None:
        codes = set(CODES) - {"no_edge"} - (set() if has_meta else {"low_meta_confidence"})
        assert set(frame["abstained"]) == codes | {None}
        assert set(frame["signal"]) == {"BUY", "HOLD", "SELL"}


# Portfolios -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def risk():
    rng = np.random.default_rng(1)
    losses = 0.01 * rng.standard_normal((400, 3))
    contract = make_contract(
        400,
        template="portfolio_risk",
        architecture="ewma_fhs",
        symbols=("AAPL", "KO", "MSFT"),
        feature_names=("AAPL", "KO", "MSFT"),
        horizon_bars=1,
        label_spec={"market": "", "level": 0.99},
    )
    decoder = Decoder(
        {"n_returns": 300, "shrinkage": 0.1, "bars_per_year": 252.0},
        {"returns": -losses, "covariance": np.cov(losses, rowvar=False), "losses": losses},
    )
    weights = np.array([[0.6, 0.4, 0.0], [0.0, 1.5, -0.5], [1.0, 0.0, 0.0]], dtype=np.float32)
    return (weights @ losses.T).astype(np.float32), weights, decoder, contract


def without_null(value):
    if isinstance(value, dict):
        return {k: without_null(v) for k, v in value.items() if v is not None}
    return value


def test_measures_of_a_portfolio_are_columns(risk):
    scores, weights, decoder, contract = risk
    template = TEMPLATES.get("portfolio_risk")
    names = [name.replace("NN", "97.5") for name in KNOWN]
    asked = {name: np.array([1.0, float(i % 2), 0.0]) for i, name in enumerate(names)}
    asked["var_95"] = np.array([0.0, 0.0, 1.0])
    frame = template.decode_frame(scores, weights, asked, decoder, contract)
    assert frame.schema == pl.Schema(template.answer_types(contract, tuple(asked)))
    answers = template.decode(scores, weights, asked, decoder, contract)
    for row, answer in zip(frame.to_dicts(), answers, strict=True):
        assert plain(without_null(row)) == plain(without_null(as_json(answer)))
    assert frame["var_95"].is_null().to_list() == [True, True, False]
    empty = {name: flags[:0] for name, flags in asked.items()}
    nothing = template.decode_frame(scores[:0], weights[:0], empty, decoder, contract)
    assert nothing.schema == frame.schema


def test_without_a_measure_the_usual_ones_are_columns(risk):
    *_, contract = risk
    types = column_types((), contract)
    assert set(USUAL) <= set(types)
    assert types["interval"].fields[0].name == "lower"
