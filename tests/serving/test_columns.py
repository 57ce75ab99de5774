from typing import ClassVar

import pytest

from pipelines.data.features import RequestAlias
from registry.errors import ParameterError, ShapeError, ValueRangeError
from serving import columns
from serving.columns import alias_of, in_feature_unit
from serving.schemas import ColumnFeatures


class TwoFeatures:
    name = "two"
    feature_names = ("rsi_14", "macd")
    needs = ("close",)
    instead = ""
    needs_trades = False
    aliases: ClassVar = {"rsi": RequestAlias("rsi_14"), "macd_line": RequestAlias("macd", "price")}
    min_history = 5


FEATURES = TwoFeatures()
SYMBOLS = ("AAPL", "MSFT")


def read(given, symbols, feature_set, used=("open", "high", "low", "close", "volume")):
    return columns.read(given, symbols, feature_set, used)


def form(**fields) -> ColumnFeatures:
    return ColumnFeatures(**fields)


def test_a_number_is_the_close_and_an_object_the_whole_bar():
    bar = {"open": 10, "high": 12, "low": 9, "close": 11}
    found = read(form(price_data=[150.25, bar], volume=[1000, 500]), SYMBOLS, FEATURES)
    assert found.forming["AAPL"].bar == {"close": 150.25, "volume": 1000.0}
    assert found.forming["MSFT"].bar == {**bar, "volume": 500.0}


def test_null_means_compute_it():
    indicators = {"rsi": [None, 50]}
    found = read(
        form(price_data=[None, 1], volume=[5, None], technical_indicators=indicators),
        SYMBOLS,
        FEATURES,
    )
    assert found.forming["AAPL"].bar == {}
    assert found.forming["AAPL"].overrides == {}
    assert found.forming["MSFT"].bar == {"close": 1.0}
    assert found.forming["MSFT"].overrides == {"rsi": 50.0}


def test_what_a_version_does_not_use_is_listed():
    given = form(
        price_data=[1, 2],
        technical_indicators={"rsi": [1, 2], "bollinger": {"upper": [1]}},
        sentiment=[0.1],
    )
    assert read(given, SYMBOLS, FEATURES).ignored == ("technical_indicators.bollinger", "sentiment")


def test_a_second_name_for_the_same_feature_is_listed():
    given = form(technical_indicators={"rsi": [1, 2], "rsi_14": [3, 4]})
    found = read(given, SYMBOLS, FEATURES)
    assert found.ignored == ("technical_indicators.rsi_14 (rsi is given)",)
    assert found.forming["AAPL"].overrides == {"rsi": 1.0}


def test_columns_that_change_no_answer_are_listed():
    bar = {"open": 1, "high": 1, "low": 1, "close": 1}
    found = read(form(price_data=[bar, 2], volume=[1, 2]), SYMBOLS, FEATURES, used=("close",))
    assert found.ignored == (
        "volume",
        "price_data.open",
        "price_data.high",
        "price_data.low",
    )


def test_volume_without_a_price_is_listed():
    found = read(form(volume=[1, 2]), SYMBOLS, FEATURES)
    assert found.ignored == ("volume (it belongs to a forming bar: give price_data)",)


@pytest.mark.parametrize("price", [0, -1, "150", True, float("nan"), 1e39, [1], {"open": 1}])
def test_a_bad_price_is_that_symbols_error_only(price):
    found = read(form(price_data=[price, 2.0]), SYMBOLS, FEATURES)
    assert isinstance(found.errors["AAPL"], ValueRangeError | ParameterError)
    assert "price_data[0]" in str(found.errors["AAPL"])
    assert found.forming["MSFT"].bar == {"close": 2.0}


@pytest.mark.parametrize(
    "bar",
    [
        {"high": 9, "close": 10},
        {"low": 11, "close": 10},
        {"open": 5, "low": 6, "high": 12, "close": 10},
        {"close": 10, "vwap": 3},
    ],
)
def test_a_bar_that_contradicts_itself_is_refused(bar):
    assert "AAPL" in read(form(price_data=[bar, 1]), SYMBOLS, FEATURES).errors


def test_negative_volume_is_refused():
    errors = read(form(price_data=[1, 1], volume=[-1, 0]), SYMBOLS, FEATURES).errors
    assert list(errors) == ["AAPL"]


@pytest.mark.parametrize(
    "fields",
    [
        {"price_data": [1]},
        {"price_data": [1, 2], "volume": [1, 2, 3]},
        {"technical_indicators": {"rsi": [1]}},
        {"technical_indicators": {"rsi": 1}},
    ],
)
def test_a_list_of_another_length_than_the_symbols_fails_the_request(fields):
    with pytest.raises(ShapeError, match="features"):
        read(form(**fields), SYMBOLS, FEATURES)


def test_units_are_those_the_alias_declares():
    assert in_feature_unit(65.2, alias_of("rsi", FEATURES), close=150.0) == 65.2
    assert in_feature_unit(1.5, alias_of("macd_line", FEATURES), close=150.0) == 0.01
    assert in_feature_unit(5.0, RequestAlias("x", "percent"), close=150.0) == 0.05
    assert alias_of("macd", FEATURES) == RequestAlias("macd")
