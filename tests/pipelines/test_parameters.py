"""Stage parameters: types, defaults, clear refusals."""

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.data.sources import SOURCES
from pipelines.parameters import (
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
    parse_mapping,
    parse_time,
)
from registry.contract import ModelContract
from registry.errors import ParameterError


def test_parse_gives_typed_values_in_their_groups() -> None:
    line = ["--symbols", "AAPL, MSFT", "--horizon", "10", "--seed", "7", "--promote", "true"]
    source, recipe, promotion = parse(
        line, "x", SourceParameters, RecipeParameters, PromotionParameters
    )
    assert source.query().symbols == ("AAPL", "MSFT")
    assert (recipe.horizon, recipe.seed, promotion.promote) == (10, 7, True)


def test_parse_without_arguments_gives_the_defaults() -> None:
    assert parse([], "x", RecipeParameters) == [RecipeParameters()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--seed", "one"], "seed='one': expected a whole number"),
        (["--horizon", "-1"], "horizon=-1: expected 0 or more"),
        (["--promote", "maybe"], "promote='maybe': expected true or false"),
    ],
)
def test_parse_refuses_a_value_of_the_wrong_type(line: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse(line, "x", RecipeParameters, PromotionParameters)


def test_parse_time_reads_dates_and_zones_as_utc() -> None:
    assert parse_time("end", "2006-12-31") == datetime(2006, 12, 31, tzinfo=UTC)
    assert parse_time("end", "2006-12-31T02:00:00+02:00") == datetime(2006, 12, 31, tzinfo=UTC)
    assert parse_time("end", "") is None


@pytest.mark.parametrize("text", ["31.12.2006", "2006-13-01", "0001-01-01T00:00:00+14:00"])
def test_parse_time_refuses_what_is_no_iso_time_of_the_calendar(text: str) -> None:
    with pytest.raises(ParameterError, match="expected an ISO date"):
        parse_time("end", text)


def test_a_symbol_named_twice_is_asked_for_once() -> None:
    assert SourceParameters(symbols="B,A,B").query().symbols == ("B", "A")


def test_parse_mapping_reads_pairs_and_refuses_the_rest() -> None:
    assert parse_mapping("columns", "close=Adj Close, volume=5") == {
        "close": "Adj Close",
        "volume": "5",
    }
    with pytest.raises(ParameterError, match="columns='close'"):
        parse_mapping("columns", "close")


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_changed_parameters_must_be_a_json_object(text: str) -> None:
    with pytest.raises(ParameterError, match="a JSON object"):
        RecipeParameters(parameters=text).changed_parameters()


def test_every_recipe_parameter_is_stored_in_the_contract() -> None:
    stored = RecipeParameters(horizon=5, options='{"fee": 0.001}', seed=7).stored()
    assert len(stored) == len(fields(RecipeParameters))
    assert set(stored) <= {item.name for item in fields(ModelContract)}
    assert (stored["horizon_bars"], stored["options"], stored["seed"]) == (5, {"fee": 0.001}, 7)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ParameterError, match="strict or repair"):
        SourceParameters(policy="guess").query()


def test_a_relative_path_is_whole_in_every_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert SourceParameters(source="files", path="a/b.csv").query().path == tmp_path / "a/b.csv"
    assert SourceParameters(source="data", path="churn").query().path == Path("churn")
    with pytest.raises(ParameterError, match=str(tmp_path / "none.csv")):
        SOURCES.get("files").read(SourceParameters(source="files", path="none.csv").query())
