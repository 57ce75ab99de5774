"""Adjustments: jumps refused with what mends them, splits, scales, and what a person says."""

import json
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.data.bars import Bars
from pipelines.data.sources import SOURCES
from pipelines.data.sources.split_list import read_splits
from pipelines.data.splits import parse_ratio, parse_scale
from pipelines.parameters import SourceParameters
from registry.errors import BarsError, ParameterError, UnknownSymbolError

DAYS = [d for i in range(420) if (d := date(2014, 1, 1) + timedelta(days=i)).weekday() < 5]
AT = 110
SINCE = str(DAYS[AT])
SEVEN = {"symbol": "AAPL", "date": SINCE, "ratio": "7:1"}


def closes() -> np.ndarray:
    return 645 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.015, len(DAYS))))


def steps(factor: float) -> np.ndarray:
    """1 before the day of the split, `factor` from it on."""
    return np.where(np.arange(len(DAYS)) >= AT, factor, 1.0)


def written(folder: Path, close, name: str = "AAPL.csv", scale=1.0) -> Path:
    close = np.asarray(close)
    columns = {"Date": DAYS, "Open": close * scale, "Close": close * scale}
    columns["Volume"] = 1e8 / close
    pl.DataFrame(columns).write_csv(folder / name)
    return folder / name


def read(path: Path, **given: str) -> Bars:
    return SOURCES.get("files").read(SourceParameters(path=str(path), **given).query())


def test_a_split_is_refused_with_its_symbol_date_and_ratio_and_the_correction_mends_it(tmp_path):
    path = written(tmp_path, closes() / steps(7))
    with pytest.raises(BarsError, match=rf"row 111 \(AAPL, {SINCE}\): close falls") as refused:
        read(path)
    assert "like a split 7:1" in str(refused.value)
    splits = str(refused.value).partition("splits=")[2].partition(", say")[0]
    assert json.loads(splits) == [SEVEN]
    bars = read(path, splits=splits)
    np.testing.assert_allclose(bars.frame["close"], closes() / 7)
    np.testing.assert_allclose(bars.frame["volume"], 7e8 / closes())
    assert bars.repairs == (f"AAPL.csv: adjusted by AAPL {SINCE} 7:1",)
    assert "615" not in refused.value.for_callers


def test_repair_keeps_and_names_a_jump(tmp_path):
    path = written(tmp_path, closes() / steps(2))
    bars = read(path, policy="repair")
    np.testing.assert_allclose(bars.frame["close"], closes() / steps(2))
    assert f"kept: row 111 (AAPL, {SINCE}): close falls" in bars.repairs[0]


@pytest.mark.parametrize(
    "given",
    [
        {"jumps": "accept"},
        {"splits": json.dumps([SEVEN | {"ratio": 1}])},
        {"start": SINCE},
        {"end": str(DAYS[AT - 1])},
    ],
)
def test_a_move_that_was_real_or_is_not_asked_for_is_kept(tmp_path, given):
    bars = read(written(tmp_path, closes() / steps(7)), **given)
    assert set(bars.frame["close"]) <= set(pl.read_csv(tmp_path / "AAPL.csv")["Close"].to_list())


def test_one_accepted_move_does_not_accept_another(tmp_path):
    close = closes() / steps(7)
    close[200:] *= 20
    with pytest.raises(BarsError, match=f"{DAYS[200]}.*1:20"):
        read(written(tmp_path, close), splits=json.dumps([SEVEN | {"ratio": 1}]))


def test_a_split_for_which_the_file_is_adjusted_already_is_refused(tmp_path):
    with pytest.raises(BarsError, match="the file is adjusted already"):
        read(written(tmp_path, closes()), splits=json.dumps([SEVEN]))


def test_splits_of_other_symbols_and_times_are_said(tmp_path):
    others = [SEVEN | {"symbol": "MSFT"}, SEVEN | {"date": "2030-01-01"}]
    bars = read(written(tmp_path, closes()), splits=json.dumps(others))
    np.testing.assert_allclose(bars.frame["close"], closes())
    assert bars.repairs == ("AAPL.csv: 2 split(s) of the list are of other symbols or times",)


def test_several_splits_of_a_symbol_multiply(tmp_path):
    close = closes() / steps(7)
    close[200:] /= 4
    both = [SEVEN, {"symbol": "AAPL", "date": str(DAYS[200]), "ratio": 4}]
    bars = read(written(tmp_path, close), splits=json.dumps(both))
    np.testing.assert_allclose(bars.frame["close"], closes() / 28)


@pytest.mark.parametrize("name", ["splits.json", "splits.csv"])
def test_splits_are_read_from_a_file(tmp_path, name):
    path = tmp_path / "lists" / name
    path.parent.mkdir()
    table = f"symbol,date,ratio\nAAPL,{SINCE},7:1\n"
    path.write_text(json.dumps([SEVEN]) if name.endswith("json") else table)
    bars = read(written(tmp_path, closes() / steps(7)), splits=str(path))
    np.testing.assert_allclose(bars.frame["close"], closes() / 7)


@pytest.mark.parametrize(
    "text",
    [
        *("[1]", '{"a": 1}', "nofile.csv", "[", '[{"symbol": "A", "ratio": 2}]'),
        *(json.dumps([SEVEN | {"ratio": r}]) for r in (0, -2, "1e99", "1e999999999", True, "a")),
        *(json.dumps([SEVEN | {"date": d}]) for d in ("x", "", None, "2014-13-01")),
        json.dumps([SEVEN | {"symbol": ""}]),
        json.dumps([SEVEN, SEVEN]),
    ],
)
def test_a_list_that_is_none_is_one_line(text):
    with pytest.raises(ParameterError, match="^splits="):
        read_splits(text)


def test_ratios_are_new_to_old():
    forms = ("2:1", "1:10", "3/2", 1.5, 20, " 2 : 1 ")
    wanted = (2, Fraction(1, 10), Fraction(3, 2), Fraction(3, 2), 20, 2)
    assert [parse_ratio(form, "ratio") for form in forms] == list(wanted)


def test_prices_in_another_unit_are_scaled_and_volumes_are_not(tmp_path):
    path = written(tmp_path, closes(), scale=0.01)
    bars = read(path, price_scale="100")
    np.testing.assert_allclose(bars.frame["close"], closes())
    np.testing.assert_allclose(bars.frame["volume"], 1e8 / closes())
    assert bars.repairs == ("AAPL.csv: prices multiplied by price_scale (all=100)",)
    np.testing.assert_allclose(read(path, price_scale="AAPL=100").frame["open"], closes())


def test_a_change_from_pence_to_pounds_is_refused_with_the_scale_that_mends_it(tmp_path):
    path = written(tmp_path, closes() / steps(100), name="VOD.csv")
    with pytest.raises(BarsError, match="price in another unit") as refused:
        read(path)
    scale = str(refused.value).partition("price_scale='")[2].partition("'")[0]
    assert scale == f"VOD=0.01 before {SINCE}"
    np.testing.assert_allclose(read(path, price_scale=scale).frame["close"], closes() / 100)


def test_dollars_times_ten_thousand_are_suggested_a_scale(tmp_path):
    path = written(tmp_path, np.round(closes(), 2), scale=10_000.0)
    (line,) = read(path).repairs
    assert "price_scale=0.0001" in line
    np.testing.assert_allclose(
        read(path, price_scale="0.0001").frame["close"], np.round(closes(), 2)
    )


@pytest.mark.parametrize(
    "text", ["x", "0", "-1", "inf", "nan", "A=", "1,2", "A=1,A=2", "A=1 before x"]
)
def test_a_scale_that_is_none_is_one_line(text):
    with pytest.raises(ParameterError, match="^price_scale="):
        parse_scale(text)


def test_a_scale_of_a_symbol_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnknownSymbolError, match="'MSFT' is not in AAPL.csv"):
        read(written(tmp_path, closes()), price_scale="MSFT=0.01")


def test_one_wrong_bar_is_to_be_corrected_not_adjusted_for(tmp_path):
    close = closes()
    close[50] *= 10
    with pytest.raises(BarsError, match=f"correct or remove the bars from {DAYS[50]}"):
        read(written(tmp_path, close))


def test_choices_are_named():
    for name in ("jumps", "stubs"):
        with pytest.raises(ParameterError, match=f"^{name}='maybe'"):
            SourceParameters(**{name: "maybe"}).query()


def test_what_is_said_of_bars_does_not_fit_tables():
    said = SourceParameters(
        splits=json.dumps([SEVEN]), jumps="accept", price_scale="A=2", stubs="drop"
    ).adjustments()
    assert said.said() == {
        "splits": f"AAPL {SINCE} 7:1",
        "jumps": "accept",
        "price_scale": "A=2",
        "stubs": "drop",
    }
    assert set(SourceParameters().adjustments().said().values()) == {""}
    assert said.splits[0].since == datetime.combine(DAYS[AT], datetime.min.time(), UTC)
