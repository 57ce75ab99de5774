"""Adjustments: what a person knows of bars that the bars do not say.

Splits for which nobody adjusted, a move that was real, a price in another unit, and what becomes of
bars outside the session. They are applied to a whole history, in this order, before the history is
judged: `rules()` are rules of `pipelines.data.bar_rules`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import groupby

import polars as pl

from pipelines.data.bar_rules import PRICE_COLUMNS, Ledger, Rule
from pipelines.data.jumps import Jump, find_jumps
from pipelines.data.sessions import STUBS, drop_stubs, merge_stubs, note_stubs
from pipelines.data.splits import PriceScale, Split, without_repeats
from registry.errors import ParameterError, UnknownSymbolError

JUMPS = ("refuse", "accept")
MOST_SHOWN = 5
LEAST_WHOLE = 10_000
"""Median close from which whole prices, all of them hundreds, look like dollars times 10,000."""


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What is to be done to bars; by default nothing, and a jump breaks a rule.

    Args:
        splits: prices before each are divided by its ratio, volumes multiplied.
        jumps: `refuse` (a broken rule) or `accept` (noted).
        price_scale: prices in another unit; one of a symbol stands instead of that of all.
        stubs: `keep`, `merge` or `drop` bars outside the session.
        start, end: jumps before and after are not judged; None leaves a side open.
    """

    splits: tuple[Split, ...] = ()
    jumps: str = "refuse"
    price_scale: tuple[PriceScale, ...] = ()
    stubs: str = "keep"
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.jumps not in JUMPS:
            raise ParameterError("jumps", self.jumps, " or ".join(JUMPS))
        if self.stubs not in STUBS:
            raise ParameterError("stubs", self.stubs, ", ".join(STUBS))

    def said(self) -> dict[str, str]:
        """Return what was asked for as text, empty where it is the default."""
        return {
            "splits": ", ".join(str(split) for split in self.splits),
            "jumps": "" if self.jumps == JUMPS[0] else self.jumps,
            "price_scale": ", ".join(str(scale) for scale in self.price_scale),
            "stubs": "" if self.stubs == STUBS[0] else self.stubs,
        }

    def rules(self) -> tuple[Rule, ...]:
        """Return what changes and judges a history, in order."""
        stubs: Mapping[str, Callable[[pl.DataFrame, Ledger], pl.DataFrame]] = {
            "keep": note_stubs,
            "merge": merge_stubs,
            "drop": drop_stubs,
        }
        return (self._scaled, self._adjusted, stubs[self.stubs], self._plausible, whole_prices)

    def _scaled(self, frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
        """Multiply prices by the scale of their symbol."""
        if not self.price_scale:
            return frame
        known = frame["symbol"].unique().to_list()
        named = [scale.symbol for scale in self.price_scale if scale.symbol]
        for symbol in named:
            if symbol not in known:
                raise UnknownSymbolError(symbol, f"{ledger.where} (price_scale)", known)
        factor = pl.lit(1.0)
        for scale in self.price_scale:
            its = pl.col("symbol").is_in(named)
            its = pl.col("symbol") == scale.symbol if scale.symbol else ~its
            until = (
                pl.lit(value=True) if scale.before is None else pl.col("timestamp") < scale.before
            )
            factor = pl.when(its & until).then(scale.factor).otherwise(factor)
        shown = ", ".join(str(scale) for scale in self.price_scale)
        ledger.note(f"prices multiplied by price_scale ({shown})")
        return frame.with_columns(pl.col(c) * factor for c in PRICE_COLUMNS)

    def _adjusted(self, frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
        """Divide prices before a split by its ratio and multiply volumes by it."""
        spans = frame.group_by("symbol").agg(
            first=pl.col("timestamp").min(), last=pl.col("timestamp").max()
        )
        held = {symbol: (first, last) for symbol, first, last in spans.iter_rows()}
        real = [s for s in self.splits if s.ratio != 1]
        inside = [s for s in real if s.symbol in held and _lies_in(s, *held[s.symbol])]
        if inside:
            ledger.note(f"adjusted by {_shown([str(split) for split in inside])}")
        if others := len(real) - len(inside):
            ledger.note(f"{others} split(s) of the list are of other symbols or times")
        return _divided(frame, inside) if inside else frame

    def _plausible(self, frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
        """Refuse or note the jumps that nobody named."""
        moves = [split for split in self.splits if split.ratio == 1]
        jumps = [
            jump
            for jump in find_jumps(frame)
            if _lies_between(jump, self.start, self.end)
            and not any(_is_at(split, jump) for split in moves)
        ]
        if not jumps:
            return frame
        again = any(_is_at(split, jump) for split in self.splits for jump in jumps)
        found = _shown([_line(jump) for jump in jumps])
        if self.jumps == "accept":
            ledger.note(f"kept as real moves (jumps=accept): {found}")
            return frame
        told = f"row {jumps[0].row}: its close jumps ({jumps[0].written or 'no usual ratio'})"
        ledger.repair(found, _hint(jumps, again), f"kept: {found}", told)
        return frame


NO_ADJUSTMENTS = Adjustments()


def whole_prices(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Note symbols whose prices look like dollars times 10,000."""
    close = pl.col("close")
    found = frame.group_by("symbol").agg(
        hundreds=((close / 100).round() * 100 - close).abs().lt(1e-3).mean(),
        median=close.median(),
        n=pl.len(),
    )
    scaled = found.filter(
        (pl.col("hundreds") > 0.99) & (pl.col("median") >= LEAST_WHOLE) & (pl.col("n") >= 20)
    ).sort("symbol")
    if not scaled.is_empty():
        symbol, median = scaled["symbol"][0], scaled["median"][0]
        ledger.note(
            f"every close of {len(scaled)} symbol(s) is a whole number of hundreds ({symbol}: "
            f"{median:g} in the middle); price_scale=0.0001 if prices are in 1/10,000"
        )
    return frame


def _lies_in(split: Split, first: datetime, last: datetime) -> bool:
    return first < split.since <= last


def _divided(frame: pl.DataFrame, splits: list[Split]) -> pl.DataFrame:
    facts: list[tuple[str, datetime, float]] = []
    for symbol, own in groupby(without_repeats(splits), key=lambda split: split.symbol):
        factor = Fraction(1)
        for split in reversed(list(own)):
            factor *= split.ratio
            facts.append((symbol, split.since, float(factor)))
    schema: dict[str, pl.DataType] = {
        "symbol": pl.String(),
        "since": frame.schema["timestamp"],
        "factor": pl.Float64(),
    }
    factors = pl.DataFrame(facts, schema=schema, orient="row").sort("symbol", "since")
    joined = frame.join_asof(
        factors,
        left_on="timestamp",
        right_on="since",
        by="symbol",
        strategy="forward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    times = pl.col("factor").fill_null(1.0)
    prices = [pl.col(c) / times for c in PRICE_COLUMNS]
    return joined.with_columns(*prices, pl.col("volume") * times).select(frame.columns)


def _lies_between(jump: Jump, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or jump.previous >= start) and (end is None or jump.time <= end)


def _is_at(split: Split, jump: Jump) -> bool:
    return split.symbol == jump.symbol and jump.previous < split.since <= jump.time


def _line(jump: Jump) -> str:
    verb = "falls" if jump.after < jump.before else "rises"
    reason = f"like a split {jump.written}" if jump.ratio else "beyond any plausible return"
    if jump.is_power_of_ten:
        reason += " or a price in another unit"
    elif jump.is_beyond:
        reason += ", or the ticker is another company's now"
    return (
        f"row {jump.row} ({jump.symbol}, {_when(jump.time)}): close {verb} from {jump.before:g} to "
        f"{jump.after:g} ({jump.before / jump.after:.4g} to 1), {reason}"
    )


def _hint(jumps: list[Jump], is_adjusted: bool) -> str:
    """Return what to do about the first jump."""
    first, when = jumps[0], _when(jumps[0].time)
    split = {"symbol": first.symbol, "date": when, "ratio": first.written}
    parts = [f"adjust with splits={json.dumps([split])}"] if first.ratio else []
    if len(jumps) > 1 and jumps[1].undoes(first):
        parts = [f"correct or remove the bars from {when} until it comes back"]
    elif is_adjusted:
        parts = ["a split was given for it: the file is adjusted already, or the ratio is another"]
    elif first.is_power_of_ten and first.ratio:
        unit = f"{first.symbol}={float(1 / first.ratio):g} before {when}"
        parts.append(f"or with price_scale='{unit}' if its unit changed")
    return ", ".join((*parts, "say ratio 1 or jumps=accept if the price did move so"))


def _when(time: datetime) -> str:
    return time.isoformat().removesuffix("T00:00:00+00:00")


def _shown(lines: list[str]) -> str:
    more = f"; and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    return "; ".join(lines[:MOST_SHOWN]) + more
