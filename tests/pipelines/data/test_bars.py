"""The checked frame: its rules, interval and digest."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.bar_rules import BAR_RULES, Ledger, is_faultless
from pipelines.data.bars import (
    CONFORMING,
    SCHEMA,
    Bars,
    check_bars,
    format_interval,
    from_microseconds,
    infer_interval,
    parse_interval,
    to_microseconds,
)
from registry.errors import BarsError, MissingColumnsError, ParameterError, TooLittleHistoryError

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def frame_of(*days: float, symbol: str = "ABC", **columns) -> pl.DataFrame:
    """Bars at these days after Monday, closes 1, 2, ..."""
    n = len(days)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "timestamp": [MONDAY + timedelta(days=d) for d in days],
            "close": [float(i + 1) for i in range(n)],
            **columns,
        }
    )


def check(frame: pl.DataFrame, policy: str = "strict") -> tuple[pl.DataFrame, tuple[str, ...]]:
    return check_bars(frame, policy=policy, where="test")


def test_absent_columns_are_null_and_others_are_dropped():
    frame, repairs = check(frame_of(0, 1, colour=["red", "blue"]))
    assert dict(frame.schema) == SCHEMA
    assert frame["high"].null_count() == 2
    assert repairs == ()


def test_symbols_may_be_interleaved():
    both = pl.concat([frame_of(0, symbol="B"), frame_of(0), frame_of(1, symbol="B"), frame_of(1)])
    frame, repairs = check(both)
    assert frame["symbol"].to_list() == ["ABC", "ABC", "B", "B"]
    assert repairs == ()


def test_naive_times_are_utc_and_other_zones_are_converted():
    naive = frame_of(0, 1).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    tokyo = frame_of(0, 1).with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    assert check(naive)[0].equals(check(tokyo)[0])


def test_a_frame_without_its_key_is_refused():
    with pytest.raises(MissingColumnsError, match="test needs the columns close, symbol"):
        check(frame_of(0).select("timestamp"))
    with pytest.raises(BarsError, match="a column has the wrong type"):
        check(frame_of(0).with_columns(close=pl.lit("high")))
    with pytest.raises(BarsError, match="there is no usable row"):
        check(frame_of())
    with pytest.raises(ParameterError, match="policy='lenient'"):
        check(frame_of(0), policy="lenient")


UNUSABLE = {
    "no symbol": ({"symbol": ["ABC", None]}, "it has no symbol"),
    "no time": ({"timestamp": [MONDAY, None]}, "it has no time"),
    "no close": ({"close": [1.0, None]}, "close is missing"),
    "NaN": ({"close": [1.0, np.nan]}, "close is nan, expected a positive number"),
    "infinite": ({"close": [1.0, np.inf]}, "close is inf, expected a positive number"),
    "zero": ({"close": [1.0, 0.0]}, r"close is 0\.0, expected a positive number"),
    "negative open": ({"open": [1.0, -1.0]}, r"open is -1\.0, expected a positive number"),
    "open missing": ({"open": [1.0, None]}, "open is missing but other bars have it"),
    "high < low": ({"high": [2.0, 1.0], "low": [1.0, 2.0]}, r"high is 1\.0 and low is 2\.0"),
    "volume": ({"volume": [1.0, -5.0]}, r"volume is -5\.0, expected zero or more"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_unusable_row_is_named_or_removed(fault):
    columns, message = UNUSABLE[fault]
    frame = frame_of(0, 1).with_columns(**{c: pl.Series(c, v) for c, v in columns.items()})
    with pytest.raises(BarsError, match=rf"test: row 2 \(.*\): {message}.*policy=repair"):
        check(frame)
    repaired, repairs = check(frame, "repair")
    assert len(repaired) == 1
    assert "removed 1 row, first row 2" in repairs[0]


def test_missing_volumes_of_single_bars_are_kept():
    frame, repairs = check(frame_of(0, 1, volume=[None, 5.0]))
    assert frame["volume"].to_list() == [None, 5.0]
    assert repairs == ()


def test_disorder_is_an_error_or_sorted():
    with pytest.raises(BarsError, match=r"row 3 \(ABC, 2024-01-02 00:00\) is earlier than"):
        check(frame_of(0, 2, 1))
    frame, repairs = check(frame_of(0, 2, 1), "repair")
    assert frame["close"].to_list() == [1, 3, 2]
    assert "sorted by time" in repairs[0]


def test_repeated_bars_are_an_error_or_dropped_and_different_ones_an_error():
    frame = frame_of(0, 1).vstack(frame_of(0, 1)[1:])
    with pytest.raises(BarsError, match=r"row 3 \(ABC, 2024-01-02 00:00\) repeats another row"):
        check(frame)
    assert len(check(frame, "repair")[0]) == 2
    for policy in ("strict", "repair"):
        with pytest.raises(BarsError, match=r"2024-01-02 00:00\) has the time of another bar"):
            check(frame_of(0, 1, 1), policy)


@pytest.mark.parametrize("policy", ["strict", "repair"])
@pytest.mark.parametrize("spread", [1.3, 0.0501, -0.0001], ids=["pips", "above 5 %", "exchanged"])
def test_a_median_spread_in_another_unit_is_refused_under_every_policy(policy, spread):
    usual = [spread] * 15 + [0.0001] * 10
    with pytest.raises(BarsError, match=r"median spread, a fraction of the price, of ABC is"):
        check(frame_of(*range(25), spread=usual), policy=policy)


def test_single_wide_spreads_are_noted_and_kept():
    frame, notes = check(frame_of(*range(25), spread=[0.0001] * 24 + [0.2]))
    assert frame["spread"][24] == 0.2
    assert [line for line in notes if "spread" in line] == [
        "test: 1 row with a spread above 5%, first row 25 (ABC, 2024-01-25 00:00)"
    ]


def test_a_few_posted_bars_with_wide_spreads_are_no_unit_error_but_many_are():
    few, many = (frame_of(*range(n), spread=[0.2] * n) for n in (19, 20))
    assert check_bars(few, policy="strict", where="feed", is_history=False)[0]["spread"][0] == 0.2
    with pytest.raises(BarsError, match="median spread"):
        check_bars(many, policy="strict", where="feed", is_history=False)


def test_the_spread_of_one_symbol_in_another_unit_is_not_hidden_by_others():
    right = frame_of(*range(30), spread=[0.0001] * 30)
    wrong = frame_of(*range(30), symbol="PIPS", spread=[1.2] * 30)
    with pytest.raises(BarsError, match="of PIPS is 1.2, expected 0 to 0.05"):
        check(pl.concat([right, wrong]))


def panel(n=600, n_symbols=4, moved=(), seed=0):
    """Symbols of one session with a common factor; those in `moved` by so many bars."""
    rng = np.random.default_rng(seed)
    factor, parts = rng.standard_normal(n + 2), []
    for k in range(n_symbols):
        start = 1 + dict(moved).get(k, 0)
        moves = 0.01 * (factor[start : start + n] + rng.standard_normal(n))
        closes = np.exp(np.cumsum(moves)).tolist()
        parts.append(frame_of(*range(n), symbol=f"S{k}").with_columns(close=pl.Series(closes)))
    return pl.concat(parts)


@pytest.mark.parametrize(("bars", "said"), [(1, "early"), (-1, "late")])
def test_a_symbol_one_bar_apart_from_the_others_is_noted(bars, said):
    _, notes = check(panel(moved=[(2, bars)]))
    (line,) = [line for line in notes if "moves with the other symbols" in line]
    assert line.startswith(f"test: S2 moves with the other symbols one bar {said}: its bars are")


@pytest.mark.parametrize("given", [{}, {"n": 480, "moved": [(2, 1)]}, {"n_symbols": 2}])
def test_symbols_of_one_session_and_short_histories_are_not_noted(given):
    for seed in range(3):
        assert not [n for n in check(panel(seed=seed, **given))[1] if "moves with" in n]


def test_a_spread_that_is_always_zero_is_not_known():
    frame, notes = check(frame_of(0, 1, spread=[0.0, 0.0]))
    assert frame["spread"].null_count() == 2
    assert "spread of ABC is zero in every bar: set to null, not recorded" in notes[0]


def test_crossed_quotes_lose_their_spread_only():
    frame, repairs = check(frame_of(0, 1, spread=[0.1, -0.1]))
    assert frame["spread"].to_list() == [0.1, None]
    assert "1 row with the bid above the ask" in repairs[0]


def test_volume_that_is_always_zero_is_unknown():
    both = pl.concat(
        [frame_of(0, 1, volume=[0.0, 0.0]), frame_of(0, 1, symbol="B", volume=[0.0, 7.0])]
    )
    frame, repairs = check(both)
    assert frame["volume"].to_list() == [None, None, 0.0, 7.0]
    assert repairs == ("test: volume of ABC is zero in every bar: set to null, not recorded",)
    handful, notices = check_bars(both, policy="strict", where="", is_history=False)
    assert handful["volume"].to_list() == [0.0, 0.0, 0.0, 7.0]
    assert notices == ()


def test_closes_outside_their_range_are_noted():
    frame, repairs = check(frame_of(0, 1, high=[1.5, 1.5], low=[0.5, 0.5]))
    assert frame["close"].to_list() == [1, 2]
    assert "1 row with open or close outside low..high, first row 2" in repairs[0]


def test_nights_and_weekends_are_no_holes_but_missing_weeks_are():
    weekdays = [d for d in range(28) if d % 7 < 5]
    assert check(frame_of(*weekdays))[1] == ()
    gap = [d for d in weekdays if not 7 <= d < 14]
    (line,) = check(frame_of(*gap))[1]
    assert line == (
        "test: 1 hole(s) in 1 symbol(s), the longest ABC 2024-01-05 00:00 to 2024-01-15 00:00"
    )
    hours = [d + h / 24 for d in weekdays for h in range(9, 16)]
    assert check(frame_of(*hours))[1] == ()


def test_a_market_that_never_closes_has_shorter_holes():
    days = [d for d in range(28) if not 10 <= d < 14]
    assert "1 hole(s)" in check(frame_of(*days))[1][0]
    assert check(frame_of(*range(28)))[1] == ()


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)), st.sampled_from(["strict", "repair"]))
def test_checking_twice_changes_nothing(order, policy):
    frame, _ = check(frame_of(*order), "repair")
    again, repairs = check(frame, policy)
    assert again.equals(frame)
    assert repairs == ()


@pytest.mark.parametrize(
    ("interval", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("1d", timedelta(days=1)),
        ("1w", timedelta(days=7)),
    ],
)
def test_intervals_are_written_as_they_are_read(interval, length):
    assert parse_interval(interval) == length
    assert format_interval(length) == interval


@pytest.mark.parametrize("text", ["", "d", "0d", "1 d", "1mo", "-1h", "daily"])
def test_other_texts_are_no_interval(text):
    with pytest.raises(ParameterError, match="expected a number and s, m, h, d or w"):
        parse_interval(text)


@pytest.mark.parametrize(
    ("days", "interval"),
    [
        ([0, 1, 2, 3, 4, 7, 8, 9], "1d"),
        ([d + h / 24 for d in range(5) for h in range(9, 16)], "1h"),
        ([i / 288 for i in range(20)], "5m"),
        ([0, 7, 14, 28], "1w"),
        ([0, 31, 59, 90, 120, 151], "30d"),
    ],
)
def test_the_interval_is_the_most_frequent_step(days, interval):
    assert infer_interval(check(frame_of(*days))[0]) == interval


def test_one_bar_has_no_interval():
    with pytest.raises(TooLittleHistoryError, match="needs 2 bars but there are 1"):
        infer_interval(check(frame_of(0))[0])


def bars_of(frame: pl.DataFrame, **facts) -> Bars:
    return Bars(
        check(frame)[0], **({"interval": "1d", "price_basis": "raw", "source": "x"} | facts)
    )


def test_the_digest_is_of_what_the_bars_say():
    two = pl.concat([frame_of(0, 1, symbol="B"), frame_of(0, 1)])
    same = pl.concat([frame_of(0, 1), frame_of(0, 1, symbol="B")])
    assert bars_of(two).digest() == bars_of(same, source="y", note="z").digest()
    others = [
        bars_of(two, interval="1h"),
        bars_of(two, price_basis="mid"),
        bars_of(frame_of(0, 1)),
        bars_of(pl.concat([frame_of(0, 1, symbol="B"), frame_of(0, 2)])),
        bars_of(two.with_columns(volume=1.0)),
    ]
    assert len({bars.digest() for bars in [bars_of(two), *others]}) == 6


def test_series_hold_nan_for_null():
    (series,) = bars_of(frame_of(0, 1)).series()
    assert series.close.tolist() == [1, 2]
    assert np.isnan(series.high).all()
    assert series.timestamp[0] == to_microseconds(MONDAY)


def test_times_survive_the_way_to_microseconds_and_back_to_the_last_digit():
    for time in (MONDAY, MONDAY + timedelta(microseconds=1), datetime(1969, 7, 20, tzinfo=UTC)):
        assert from_microseconds(to_microseconds(time)) == time
    assert to_microseconds(datetime(1970, 1, 1, 0, 0, 1, 7, tzinfo=UTC)) == 1_000_007


ODD = st.sampled_from([None, 1.0, 2.0, 2.0, 1.5, 0.0, -1.0, float("nan"), float("inf")])
ODD_ROW = st.tuples(
    st.sampled_from(["AAA", "BBB", "", None]),
    st.sampled_from([MONDAY, MONDAY + timedelta(days=1), None]),
    *[ODD] * 7,
)
FINE_ROW = st.tuples(
    st.sampled_from(["AAA", "BBB"]),
    st.sampled_from([MONDAY + timedelta(days=d) for d in range(9)]),
    *[st.just(1.0)] * 7,
)


@settings(max_examples=400, deadline=None)
@given(rows=st.lists(st.one_of(FINE_ROW, FINE_ROW, ODD_ROW), min_size=1, max_size=5))
def test_bars_called_faultless_pass_every_rule_unchanged(rows):
    frame = pl.DataFrame(
        [(i + 1, *row) for i, row in enumerate(rows)], schema=CONFORMING, orient="row"
    )
    ledger, ruled = Ledger("test", "strict"), frame
    try:
        for rule in BAR_RULES:
            ruled = rule(ruled, ledger)
    except BarsError:
        assert not is_faultless(frame)
        return
    if is_faultless(frame):
        assert ruled.equals(frame, null_equal=True)
        assert ledger.lines == []


def test_plain_bars_in_order_are_faultless_and_what_the_rules_must_see_is_not():
    plain = check(frame_of(0, 1))[0]
    row = pl.Series("row", [1, 2], dtype=pl.Int64())
    assert is_faultless(plain.insert_column(0, row))
    for column, value in (("close", -1.0), ("high", 1.0), ("spread", -0.1), ("symbol", "")):
        changed = plain.with_columns(
            pl.when(pl.col("row") == 1).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
        )
        assert not is_faultless(changed)
    assert not is_faultless(plain.reverse())
