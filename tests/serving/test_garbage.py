"""Whatever is sent, the answer is one of the declared ones, in the one shape, without NaN."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        *("model", "model_type", "version", "alias", "symbols", "features", "timestamp", "bars"),
        *("price_basis", "rows", "context", "prediction_horizon", "hardware", "strict"),
        *("price_data", "volume", "technical_indicators", "rsi", "open", "close", "AAPL"),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["AAPL", "volatility_forecast", "5d", "", "2007-01-03T21:00:00Z", "cpu"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ONE = st.lists(VALUES, min_size=1, max_size=1)
FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "price_data": ONE,
        "volume": ONE,
        "technical_indicators": st.dictionaries(st.sampled_from(["rsi", "macd", "other"]), ONE),
    },
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("volatility_forecast") | VALUES},
    optional={
        "symbols": st.just(["AAPL"]) | VALUES,
        "rows": st.just([[0.5] * 24]) | VALUES,
        "features": FEATURES | VALUES,
        "bars": VALUES,
        "context": VALUES,
        "prediction_horizon": VALUES,
        "timestamp": VALUES,
        "hardware": VALUES,
        "version": VALUES,
    },
)


def refuse(constant):
    raise AssertionError(f"{constant} in an answer")


@pytest.fixture
def stocked(client, post_history):
    post_history("AAPL")
    return client


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODIES)
def test_no_body_is_a_bug(stocked, body):
    content = json.dumps(body)
    answer = stocked.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404, 422, 503), answer.text
    found = json.loads(answer.text, parse_constant=refuse)
    if answer.status_code != 200:
        assert set(found) == {"error"}
        assert "\n" not in found["error"]["message"]
