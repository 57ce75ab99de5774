"""Stage parameters: types, defaults, clear refusals; the MLproject says the same."""

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pipelines.convert import ConvertParameters
from pipelines.parameters import (
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
    parse_mapping,
    parse_time,
)
from pipelines.validate import ValidateParameters
from registry.errors import ParameterError

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "main": (SourceParameters, RecipeParameters, JudgementParameters, PromotionParameters),
    "train": (SourceParameters, RecipeParameters),
    "validate": (ValidateParameters, JudgementParameters),
    "convert": (ConvertParameters, PromotionParameters),
}


def test_parse_gives_typed_values_in_their_groups() -> None:
    line = ["--symbols", "AAPL, MSFT", "--horizon", "10", "--seed", "7", "--promote", "true"]
    source, recipe, promotion = parse(
        line, "x", "x", SourceParameters, RecipeParameters, PromotionParameters
    )
    assert source.query().symbols == ("AAPL", "MSFT")
    assert (recipe.horizon, recipe.seed, promotion.promote) == (10, 7, True)


def test_parse_without_arguments_gives_the_defaults() -> None:
    assert parse([], "x", "x", RecipeParameters) == [RecipeParameters()]


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
        parse(line, "x", "x", RecipeParameters, PromotionParameters)


def test_parse_time_reads_dates_and_zones_as_utc() -> None:
    assert parse_time("end", "2006-12-31") == datetime(2006, 12, 31, tzinfo=UTC)
    assert parse_time("end", "2006-12-31T02:00:00+02:00") == datetime(2006, 12, 31, tzinfo=UTC)
    assert parse_time("end", "") is None


def test_parse_time_refuses_what_is_not_iso() -> None:
    with pytest.raises(ParameterError, match=r"end='31\.12\.2006': expected an ISO date"):
        parse_time("end", "31.12.2006")


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


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ParameterError, match="strict or repair"):
        SourceParameters(policy="guess").query()


@pytest.mark.parametrize("entry_point", GROUPS)
def test_mlproject_declares_exactly_the_stage_parameters(entry_point: str) -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    entry = project["entry_points"][entry_point]
    declared = {k: str(v["default"]) for k, v in entry["parameters"].items()}
    known = {f.name: f.default for group in GROUPS[entry_point] for f in fields(group)}
    assert declared == {
        k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in known.items()
    }
    assert entry["command"].split()[:3] == ["python", "-m", f"pipelines.{entry_point}"]
    for name in known:
        assert f"--{name} {{{name}}}" in " ".join(entry["command"].split())


def test_conda_yaml_pins_what_the_lock_pins() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    lock = set((ROOT / "requirements.lock").read_text().splitlines())
    assert set(conda["dependencies"][-1]["pip"]) <= lock
