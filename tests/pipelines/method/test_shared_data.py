"""The same data are known again under any name, interval, source and form; other data are not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.data.samples import sampled
from pipelines.method.shared_data import share_data
from registry.trial_data import SymbolSample, TrialData, sample_dates, untold

START = datetime(2004, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


def walk(n=2500, seed=0, scale=0.01):
    return scale * np.random.default_rng(seed).standard_t(4, n)


def times(n, start=START, step=timedelta(days=1)):
    return pl.datetime_range(start, start + (n - 1) * step, step, time_unit="us", eager=True)


def bars(returns, interval="1d", start=START, **names):
    """Bars of one walk per symbol, A, B, ... unless they are named."""
    series = returns if isinstance(returns, dict) else {"A": returns}
    step = timedelta(hours=1) if interval == "1h" else timedelta(days=1)
    frames = [
        pl.DataFrame(
            {
                "symbol": [names.get(symbol, symbol)] * len(moves),
                "timestamp": times(len(moves), start, step),
                "close": 50 * np.exp(np.cumsum(moves)),
            }
        )
        for symbol, moves in series.items()
    ]
    return pl.concat(frames)


def data(frame, interval="1d", sha256=""):
    return sampled(frame, interval, sha256 or repr(frame.hash_rows().sum()))


def both_ways(ours, theirs):
    found = share_data(ours, theirs)
    assert share_data(theirs, ours) == found
    return found


WALK = walk()
OURS = data(bars(WALK))


def test_the_name_does_not_count():
    assert both_ways(OURS, data(bars(WALK, A="RENAMED")))


def test_other_data_under_the_same_name_are_others():
    assert not both_ways(OURS, data(bars(walk(seed=1))))


@pytest.mark.parametrize(("correlation", "same"), [(0.92, False), (0.95, False), (0.99, True)])
def test_series_that_move_together_are_the_same_from_097_on(correlation, same):
    own = walk(seed=5)
    moves = correlation * WALK + np.sqrt(1 - correlation**2) * own
    assert both_ways(OURS, data(bars(moves, A="B"))) == same


def test_raw_prices_are_the_adjusted_ones():
    raw = WALK.copy()
    raw[60::63] -= 0.006  # dividends of a quarter
    raw[700] -= np.log(7)  # a split
    assert both_ways(OURS, data(bars(raw, A="RAW")))


def test_a_pair_quoted_the_other_way_round_is_the_same():
    assert both_ways(OURS, data(bars(-WALK, A="INVERSE")))


def test_bid_and_ask_are_the_same():
    noise = 0.0005 * np.random.default_rng(3).standard_normal(len(WALK) + 1)
    assert both_ways(OURS, data(bars(WALK + np.diff(noise), A="ASK")))


@pytest.mark.parametrize("part", [slice(0, 700), slice(1800, 2500), slice(2249, 2500)])
def test_a_part_of_the_history_is_the_same_data(part):
    start = START + timedelta(days=part.start)
    frame = bars(WALK[part], start=start, A="PART")
    assert both_ways(OURS, data(frame))


def test_untouched_days_are_other_data():
    later = bars(walk(1500, 9), start=START + timedelta(days=2500))
    assert not both_ways(OURS, data(later))


def test_histories_that_share_less_than_half_are_others():
    moves = walk(4000, 2)
    early = data(bars(moves[:2500]))
    for first, shared in ((1200, True), (1400, False)):
        late = bars(moves[first : first + 2500], start=START + timedelta(days=first))
        assert both_ways(early, data(late)) == shared


def universe(symbols, n=800):
    return bars({symbol: walk(n, ord(symbol)) for symbol in symbols})


@pytest.mark.parametrize(
    ("theirs", "shared"), [("AB", True), ("ABCDEFGH", True), ("ABXY", True), ("AXYZ", False)]
)
def test_half_of_the_smaller_universe_must_be_common(theirs, shared):
    assert both_ways(data(universe("ABCD")), data(universe(theirs))) == shared


def hourly(n_days=700, seed=0):
    return bars(walk(24 * n_days, seed, 0.002), "1h", START + timedelta(hours=1))


def hourly_to_days(hours, offset_hours=0):
    of_day = (pl.col("timestamp") - timedelta(hours=offset_hours, microseconds=1)).dt.date()
    days = hours.group_by(of_day.alias("day"), maintain_order=True).agg(pl.all().last())
    stamps = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return days.select("symbol", stamps.alias("timestamp"), "close")


@pytest.mark.parametrize("offset_hours", [0, 5])
def test_days_made_of_hours_are_the_same_data_whatever_hour_they_end_at(offset_hours):
    hours = hourly()
    daily = hourly_to_days(hours, offset_hours).with_columns(pl.lit("DAILY").alias("symbol"))
    assert both_ways(data(hours, "1h"), data(daily))
    assert not both_ways(data(hourly(seed=1), "1h"), data(daily))
    midnight = data(hourly_to_days(hours))
    assert both_ways(midnight, data(daily))


def test_weeks_are_the_same_data_as_their_days():
    moves = walk(5000, 4)
    daily = bars(moves)
    weekly = daily.gather_every(7).with_columns(pl.lit("W").alias("symbol"))
    assert both_ways(data(daily), data(weekly, "1w"))
    assert not both_ways(data(bars(walk(5000, 6))), data(weekly, "1w"))


def test_weeks_of_few_symbols_are_known_among_the_days_of_many():
    moves = {symbol: walk(5000, ord(symbol)) for symbol in "ABCDEFGH"}
    weekly = [bars(moves[s], A=f"W{s}").gather_every(7) for s in "AB"]
    few = pl.concat(
        frame.with_columns(pl.lit(f"W{s}").alias("symbol"))
        for s, frame in zip("AB", weekly, strict=True)
    )
    assert both_ways(data(bars(moves)), data(few, "1w"))


def test_many_symbols_are_compared_in_a_moment():
    def universe_of(seed, prefix):
        rng = np.random.default_rng(seed)
        days = np.arange(600)
        closes = np.exp(0.01 * rng.standard_normal((60, 600)).cumsum(axis=1))
        symbols = tuple(
            SymbolSample(f"{prefix}{i}", 0, 599, sample_dates(days, close))
            for i, close in enumerate(closes)
        )
        return TrialData(f"{prefix}{seed}", tuple(s.symbol for s in symbols), "1d", 0, 1, symbols)

    ours = universe_of(0, "A")
    assert both_ways(ours, universe_of(0, "B"))
    assert not both_ways(ours, universe_of(1, "A"))


def test_a_month_of_minutes_is_known_by_its_own_bars():
    moves = walk(20_000, 7, 0.0002)
    step = timedelta(minutes=1)
    frame = pl.DataFrame(
        {
            "symbol": ["M"] * len(moves),
            "timestamp": times(len(moves), START, step),
            "close": np.exp(moves.cumsum()),
        }
    )
    renamed = frame.with_columns(pl.lit("N").alias("symbol"))
    other = frame.with_columns(close=np.exp(walk(20_000, 8, 0.0002).cumsum()))
    ours = data(frame, "1m")
    assert both_ways(ours, data(renamed[:15_000], "1m"))
    assert not both_ways(ours, data(other, "1m"))


def test_what_is_too_short_to_tell_apart_goes_by_its_name():
    short, other = walk(50, 1), walk(50, 2)
    assert both_ways(data(bars(short)), data(bars(other)))
    assert not both_ways(data(bars(short)), data(bars(other, A="B")))
    assert both_ways(data(bars(short)), data(bars(short, A="COPY"), sha256="copy"))


def test_data_without_samples_go_by_name_and_span():
    first, last = (round((START + timedelta(days=d)).timestamp() * 1e6) for d in (0, 2499))
    assert both_ways(OURS, untold("old", ("A", "B"), "1d", first, last)) is True
    assert not both_ways(OURS, untold("old", ("B",), "1d", first, last))
    later = last + 5000 * DAY
    assert not both_ways(OURS, untold("old", ("A",), "1d", last + DAY, later))


def test_a_series_that_never_moves_is_told_apart_by_name():
    flat = np.zeros(400)
    assert not both_ways(data(bars(flat, A="PEG")), data(bars(walk(400), A="B")))


# Rows ------------------------------------------------------------------------------------------


def table(n=800, seed=0, **more):
    rng = np.random.default_rng(seed)
    columns = {
        "timestamp": times(n),
        "age": rng.integers(18, 90, n),
        "income": rng.gamma(2.0, 1000.0, n),
        "city": rng.choice(["Rome", "Oslo"], n),
        "bought": rng.integers(0, 2, n),
    }
    return pl.DataFrame(columns | more)


def rows(frame, sha256=""):
    return sampled(frame, "", sha256 or repr(frame.hash_rows().sum()))


TABLE = table()


@pytest.mark.parametrize(
    "same",
    [
        TABLE.rename({"age": "years", "income": "wage"}),
        TABLE.select(reversed(TABLE.columns)),
        TABLE.sample(fraction=1.0, shuffle=True, seed=1).with_columns(timestamp=times(800)),
        TABLE[37:].with_columns(timestamp=times(763)),
        TABLE.with_columns(noise=np.random.default_rng(9).standard_normal(800)),
        TABLE.drop("age", "city"),
        pl.concat([TABLE, table(700, 5)]),
        TABLE.with_columns(pl.col("income") * (1 + 1e-12), pl.col("city").str.to_uppercase()),
    ],
    ids=["renamed", "reordered", "shuffled", "cut", "wider", "narrower", "longer", "in the 12th"],
)
def test_a_table_is_known_again_in_another_form(same):
    assert both_ways(rows(TABLE), rows(same))


def test_another_table_with_the_same_columns_is_another():
    assert not both_ways(rows(TABLE), rows(table(seed=2)))


def test_a_part_of_a_large_table_is_known_again():
    large = table(20_000)
    assert both_ways(rows(large), rows(large[:2500]))
    assert not both_ways(rows(large), rows(table(2500, 3)))


def test_a_part_too_small_for_the_sample_goes_by_its_columns():
    large = table(20_000)
    assert both_ways(rows(large), rows(large[:100]))
    assert not both_ways(rows(large), rows(table(100, 3).rename({"age": "years"})))


def test_texts_are_known_again_whatever_they_are_called():
    texts = [f"text number {i} of many" for i in range(300)]
    ours = pl.DataFrame({"timestamp": times(300), "text": texts, "label": ["up", "down"] * 150})
    theirs = ours.select("timestamp", body=pl.col("text").str.to_uppercase(), y="label")
    other = ours.with_columns(pl.col("text") + " more")
    assert both_ways(rows(ours), rows(theirs))
    assert not both_ways(rows(ours), rows(other))


def test_prices_of_two_decimals_are_not_shared_by_chance():
    def prices(seed):
        return np.random.default_rng(seed).integers(1000, 9999, 1200) / 100

    ours, theirs = (table(1200, s, price=prices(s)) for s in (1, 2))
    assert not both_ways(rows(ours), rows(theirs))


def test_bars_and_rows_share_nothing():
    assert not both_ways(OURS, rows(TABLE))
    assert both_ways(OURS, replace(OURS, names=("Z",)))
