"""The rules of a bar frame, one function each; `data.bars.check_bars` applies them in order.

A rule takes a `Ledger` and a frame with the columns of `pipelines.data.bars.SCHEMA` and `row`, the
bar's place in what was read. It returns the frame, without bad rows where the policy allows their
removal. Each removal and each notice is a line in the ledger. A bad row that may not be removed is
a `BarsError`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.names import NO_SYMBOL
from pipelines.data.symbols import A_SYMBOL, LONGEST_SYMBOL, SYMBOL_PATTERN
from registry.errors import BarsError, ParameterError

POLICIES = ("strict", "repair")
PLACE = re.compile(r"\{\w+\}")
"""Where a message of `_tests` shows a value."""
PRICE_COLUMNS = ("open", "high", "low", "close", "vwap")
VALUE_COLUMNS = (*PRICE_COLUMNS, "volume", "spread")

HOLE_INTERVALS = 4
"""A step longer than this many intervals is a hole in a market that never closes."""

HOLE_CLOSED_MARKET = timedelta(days=5)
"""... and longer than this too where the market closes: a long weekend is no hole."""

WEEKEND_SHARE = 0.1
"""Share of Saturday bars above which a market counts as never closing (1/7 if it does not)."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the bars come from, whether they may be repaired, and what was repaired."""

    where: str
    policy: str
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ParameterError("policy", self.policy, " or ".join(POLICIES))

    def repair(self, problem: str, hint: str, repaired: str, told: str) -> None:
        """Note what was repaired.

        Raises:
            BarsError: the policy is `strict`; `told` is the problem without its values.
        """
        if self.policy == "strict":
            raise BarsError(problem, self.where, f"{hint}, or use policy=repair", told)
        self.note(repaired)

    def note(self, line: str) -> None:
        """Note what a report should repeat."""
        self.lines.append(f"{self.where}: {line}" if self.where else line)


def usable_rows(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Remove rows without symbol, time or close, and with impossible numbers."""
    tests = _tests(frame)
    found = frame.select(*(test.fill_null(value=False).any().alias(k) for k, test in tests.items()))
    for problem, is_found in found.row(0, named=True).items():
        if not is_found:
            continue
        bad = tests[problem].fill_null(value=False)
        rows = frame.filter(bad)
        if rows.is_empty():  # an earlier test removed them
            continue
        first = f"{_row_name(rows)}: {problem.format(**rows.row(0, named=True))}"
        told = f"{_row_number(rows)}: {PLACE.sub('...', problem)}"
        ledger.repair(first, "correct it", f"removed {_rows(len(rows))}, first {first}", told)
        frame = frame.filter(~bad)
    return frame


def time_order(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Sort by symbol and time; times that run backwards within a symbol are disorder."""
    backwards = pl.col("timestamp").diff().over("symbol") < pl.duration()
    rows = frame.filter(backwards)
    if not rows.is_empty():
        problem = "is earlier than the row before it"
        repaired = f"sorted by time ({len(rows)} steps back, first at {_row_name(rows)})"
        found, told = f"{_row_name(rows)} {problem}", f"{_row_number(rows)} {problem}"
        ledger.repair(found, "sort it by time", repaired, told)
    return frame.sort("symbol", "timestamp", maintain_order=True)


def unique_times(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Remove bars that repeat the one before them.

    Raises:
        BarsError: two bars of one time differ (under every policy: nobody knows which is right).
    """
    again = pl.all_horizontal(pl.col(c).eq_missing(pl.col(c).shift()) for c in _KEY)
    if not frame.select(again.any()).item():
        return frame
    alike = pl.all_horizontal(pl.col(c).eq_missing(pl.col(c).shift()) for c in VALUE_COLUMNS)
    different = frame.filter(again & ~alike)
    if not different.is_empty():
        problem = "has the time of another bar but other values"
        found, told = f"{_row_name(different)} {problem}", f"{_row_number(different)} {problem}"
        raise BarsError(found, ledger.where, "keep one of them", told)
    rows = frame.filter(again)
    problem = f"{_row_name(rows)} repeats another row"
    repaired = f"dropped {_rows(len(rows))} that repeat another, first {problem}"
    ledger.repair(problem, "remove it", repaired, f"{_row_number(rows)} repeats another row")
    return frame.filter(~again)


def known_volume(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Set volume to null for symbols whose volume is always zero: it was not recorded."""
    return _without(frame, ledger, "volume", "is zero in every bar")


def known_spread(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Set spread to null for symbols whose spread is always zero: nothing trades for free."""
    return _without(frame, ledger, "spread", "is zero in every bar")


def spread_units(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Refuse symbols whose usual spread cannot be a fraction of the price.

    Raises:
        BarsError: the median spread of a symbol is negative or above 5 % (under every policy: it is
            in another unit, such as pips, or bid and ask are exchanged).
    """
    known = frame.filter(pl.col("spread").is_not_null())
    if known.is_empty():
        return frame
    usual = known.group_by("symbol").agg(pl.col("spread").median(), pl.len().alias("n"))
    wrong = usual.filter(
        (pl.col("n") >= ENOUGH_SPREADS) & ~pl.col("spread").is_between(0.0, WIDEST_SPREAD)
    )
    if not wrong.is_empty():
        symbol, median = wrong.sort("symbol").row(0)[:2]
        problem = "spread, a fraction of the price,"
        hint = "give it as (ask - bid) / mid; or bid and ask are exchanged"
        found = f"the median {problem} of {symbol} is {median:.4g}, expected 0 to {WIDEST_SPREAD}"
        raise BarsError(found, ledger.where, hint, f"the median {problem} is not in its unit")
    return frame


def uncrossed_quotes(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Set negative spreads (bid above ask) to null; the mid price stands."""
    crossed = pl.col("spread") < 0
    n = frame.select(crossed.sum()).item()
    if not n:
        return frame
    ledger.note(f"{_rows(n)} with the bid above the ask at the close: spread set to null")
    return frame.with_columns(pl.when(crossed).then(None).otherwise("spread").alias("spread"))


def wide_spreads(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note single spreads that are wide; they are kept as they are."""
    wide = frame.filter(pl.col("spread") > WIDEST_SPREAD)
    if not wide.is_empty():
        rows = _rows(len(wide))
        ledger.note(f"{rows} with a spread above {WIDEST_SPREAD:.0%}, first {_row_name(wide)}")
    return frame


def enclosed_prices(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note opens and closes outside low..high; they are kept as they are."""
    top = pl.max_horizontal("open", "close") > pl.col("high") * (1 + 1e-9)
    bottom = pl.min_horizontal("open", "close") < pl.col("low") * (1 - 1e-9)
    rows = frame.filter(top | bottom)
    if not rows.is_empty():
        ledger.note(
            f"{_rows(len(rows))} with open or close outside low..high, first {_row_name(rows)}"
        )
    return frame


def holes(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note missing stretches; they are never filled."""
    steps = frame.select(
        *_KEY,
        pl.col("timestamp").diff().over("symbol").alias("step"),
        (pl.col("timestamp").dt.weekday() == 6).mean().over("symbol").alias("saturdays"),
    ).drop_nulls("step")
    if steps.is_empty():
        return frame
    longest_normal = HOLE_INTERVALS * steps["step"].mode().sort()[0]
    closes = pl.col("saturdays") <= WEEKEND_SHARE
    limit = pl.when(closes).then(max(longest_normal, HOLE_CLOSED_MARKET)).otherwise(longest_normal)
    found = steps.filter(pl.col("step") > limit).sort("step", descending=True, maintain_order=True)
    if not found.is_empty():
        (symbol, end), step = found.row(0)[:2], found["step"][0]
        ledger.note(
            f"{len(found)} hole(s) in {found['symbol'].n_unique()} symbol(s), the longest "
            f"{symbol} {end - step:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
        )
    return frame


ENOUGH_SPREADS = 20
"""Fewest spreads of a symbol whose median tells their unit; a feed may send one wide quote."""

WIDEST_SPREAD = 0.05
"""Median spread, fraction of the mid price, above which it is in another unit."""


def one_bar_apart(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note symbols that move with the others one bar apart rather than on the same bar.

    The correlation of a symbol's returns with the mean of the others' at a lag of one bar, either
    way, is larger than at none by four standard errors, over 500 common bars or more of symbols
    that have nearly all of their times in common (one session).
    """
    if frame["symbol"].n_unique() < LEAST_SYMBOLS or len(frame) > MOST_COMPARED:
        return frame
    prices = frame.select(*_KEY, "close").unique(_KEY, keep="first", maintain_order=True)
    prices = prices.rename({"timestamp": NO_SYMBOL})
    wide = prices.pivot("symbol", index=NO_SYMBOL, values="close").sort(NO_SYMBOL)
    names = [name for name in wide.columns if name != NO_SYMBOL]
    close = wide.select(names).to_numpy()
    n_known = np.isfinite(close).sum(axis=0)
    names = [
        n for n, known in zip(names, n_known, strict=True) if known >= COMMON_TIMES * len(wide)
    ]
    if len(names) < LEAST_SYMBOLS or len(wide) <= LEAST_LAGGED:
        return frame
    moves = np.diff(np.log(wide.select(names).drop_nulls().to_numpy()), axis=0)
    if len(moves) < LEAST_LAGGED:
        return frame
    for name, early in _apart(names, moves):
        ledger.note(
            f"{name} moves with the other symbols one bar {'early' if early else 'late'}: its bars "
            "are dated wrongly, or its market closes at another hour"
        )
    return frame


def _apart(names: list[str], moves: NDArray[np.float64]) -> Iterator[tuple[str, bool]]:
    """Yield each symbol that is a bar apart from the others, and whether it is early."""
    total, n = moves.sum(axis=1), len(moves)
    for k, name in enumerate(names):
        own, others = moves[:, k], total - moves[:, k]
        if np.ptp(own) == 0 or np.ptp(others) == 0:
            continue
        same = float(np.corrcoef(own, others)[0, 1])
        pairs = ((own[:-1], others[1:]), (own[1:], others[:-1]))
        for early, (mine, theirs) in zip((True, False), pairs, strict=True):
            lagged = float(np.corrcoef(mine, theirs)[0, 1])
            error = (((1 - same**2) ** 2 + (1 - lagged**2) ** 2) / n) ** 0.5
            if lagged - same > LAG_ERRORS * error:
                yield name, early


LEAST_SYMBOLS, LEAST_LAGGED, LAG_ERRORS = 3, 500, 4.0
"""Fewest symbols (of two nobody could say which is wrong) and returns, and standard errors."""

COMMON_TIMES = 0.9
"""Share of all times that a symbol of the session has."""

MOST_COMPARED = 5_000_000
"""Bars beyond which symbols are not compared: the table of all of them would not be small."""

Rule = Callable[[pl.DataFrame, Ledger], pl.DataFrame]

BAR_RULES: tuple[Rule, ...] = (
    usable_rows,
    time_order,
    unique_times,
    spread_units,
    uncrossed_quotes,
)
"""Rules that hold for any number of bars."""

HISTORY_RULES: tuple[Rule, ...] = (
    known_volume,
    known_spread,
    wide_spreads,
    enclosed_prices,
    holes,
    one_bar_apart,
)
"""Rules that need a whole history."""


def is_faultless(frame: pl.DataFrame) -> bool:
    """Return whether the frame is in order and no rule of `BAR_RULES` has anything to say of it.

    For the few bars of a feed, of which the rules themselves take milliseconds. False means that
    the rules must be asked: a column that is null in some rows only is left to them.
    """
    symbols, n = frame["symbol"], len(frame)
    if symbols.null_count() or frame["timestamp"].null_count() or frame["close"].null_count():
        return False
    known = {c: frame[c].to_numpy() for c in VALUE_COLUMNS if frame[c].null_count() < n}
    if any(frame[c].null_count() or not np.isfinite(known[c]).all() for c in known):
        return False
    if any(c in known and not (known[c] > 0).all() for c in PRICE_COLUMNS):
        return False
    if any(c in known and (known[c] < 0).any() for c in ("volume", "spread")):
        return False
    if "spread" in known and (known["spread"] > WIDEST_SPREAD).any():
        return False
    if "high" in known and "low" in known and (known["high"] < known["low"]).any():
        return False
    return frame.select(_is_symbol().all()).item() and is_in_order(frame)


def is_in_order(frame: pl.DataFrame) -> bool:
    """Return whether a frame is sorted by symbol and time, without a null, each pair once."""
    symbols, stamps = frame["symbol"], frame["timestamp"]
    if symbols.null_count() or stamps.null_count():
        return False
    pairs = zip(symbols.to_list(), stamps.to_numpy().tolist(), strict=True)
    return all(a < b for a, b in pairwise(pairs))


_KEY = ("symbol", "timestamp")


def _tests(frame: pl.DataFrame) -> dict[str, pl.Expr]:
    """Return message -> rows that it is true of; the message is formatted with the row."""
    tests = {
        "it has no symbol": pl.col("symbol").is_null() | (pl.col("symbol") == ""),
        f"{{symbol!r}} is no symbol: {A_SYMBOL}": ~_is_symbol(),
        "it has no time": pl.col("timestamp").is_null(),
        "close is missing": pl.col("close").is_null(),
    }
    for column in PRICE_COLUMNS:
        price = pl.col(column)
        if frame[column].null_count() == len(frame):
            continue
        text = f"{column} is {{{column}}}, expected a positive number"
        tests[text] = ~price.is_finite() | (price <= 0)
        if column != "close" and frame[column].null_count():
            has_some = price.is_not_null().any().over("symbol")
            tests[f"{column} is missing but other bars have it"] = price.is_null() & has_some
    tests["high is {high} and low is {low}, expected high >= low"] = pl.col("high") < pl.col("low")
    volume = pl.col("volume")
    tests["volume is {volume}, expected zero or more"] = ~volume.is_finite() | (volume < 0)
    tests["spread is {spread}, expected a number"] = ~pl.col("spread").is_finite()
    return tests


def _is_symbol() -> pl.Expr:
    symbol = pl.col("symbol")
    return symbol.str.contains(SYMBOL_PATTERN) & (symbol.str.len_chars() <= LONGEST_SYMBOL)


def _without(frame: pl.DataFrame, ledger: Ledger, column: str, reason: str) -> pl.DataFrame:
    """Set a column to null for the symbols in which it is all zero."""
    if frame[column].null_count() == len(frame):
        return frame
    totals = frame.group_by("symbol").agg(pl.col(column).max())
    symbols = sorted(totals.filter(pl.col(column) == 0)["symbol"])
    if not symbols or len(frame) < 2 * len(symbols):
        return frame  # one bar alone says nothing about the feed
    ledger.note(f"{column} of {', '.join(symbols)} {reason}: set to null, not recorded")
    absent = pl.col("symbol").is_in(symbols)
    return frame.with_columns(pl.when(absent).then(None).otherwise(column).alias(column))


def _row_name(rows: pl.DataFrame) -> str:
    first = rows.row(0, named=True)
    stamp = first["timestamp"]
    when = f"{stamp:%Y-%m-%d %H:%M}" if stamp is not None else "no time"
    return f"row {first['row']} ({first['symbol']}, {when})"


def _row_number(rows: pl.DataFrame) -> str:
    return f"row {rows['row'][0]}"


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"
