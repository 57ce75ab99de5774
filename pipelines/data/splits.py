"""Splits and price scales: what a person says of a symbol's prices, and how it is written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from pipelines.data.iso_times import parse_time
from registry.errors import ParameterError

RATIO = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:[:/]\s*(\d{1,9}(?:\.\d{1,9})?)\s*)?")
LARGEST_RATIO = 1_000_000


@dataclass(frozen=True, slots=True)
class Split:
    """New shares per old one, of bars at `since` and later; 1 says that the price did move so."""

    symbol: str
    since: datetime
    ratio: Fraction

    def __str__(self) -> str:
        return f"{self.symbol} {self.since:%Y-%m-%d} {written(self.ratio)}"


@dataclass(frozen=True, slots=True)
class PriceScale:
    """A factor of a symbol's prices (of all where empty), before a time if one is set."""

    symbol: str
    factor: float
    before: datetime | None = None

    def __str__(self) -> str:
        until = f" before {self.before:%Y-%m-%d}" if self.before else ""
        return f"{self.symbol or 'all'}={self.factor:g}{until}"


def written(ratio: Fraction) -> str:
    """Return a ratio as `new:old`."""
    return f"{ratio.numerator}:{ratio.denominator}"


def parse_ratio(value: object, where: str) -> Fraction:
    """Return a ratio given as `7:1`, `1:10`, or a number.

    Raises:
        ParameterError: it is no ratio, or none that a split has.
    """
    expected = "a ratio of new to old shares, like 2:1, 1:10 or 1.5"
    found = RATIO.fullmatch("" if isinstance(value, bool) else str(value))
    new, old = (
        (Fraction(found[1]), Fraction(found[2] or 1)) if found else (Fraction(0), Fraction(1))
    )
    if not new or not old or not Fraction(1, LARGEST_RATIO) <= new / old <= LARGEST_RATIO:
        raise ParameterError(where, value, expected)
    return new / old


def parse_scale(text: str) -> tuple[PriceScale, ...]:
    """Return the scales of `0.01`, or of `VOD=0.01,BP=0.01 before 2024-05-06`.

    Raises:
        ParameterError: a part that is no positive number, or two of one symbol.
    """
    scales: dict[str, PriceScale] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        symbol, _, value = part.rpartition("=")
        number, _, before = value.partition(" before ")
        try:
            factor = float(number)
            until = parse_time("price_scale", before.strip()) if before else None
        except ValueError:
            factor = 0.0
        if not 1e-12 <= factor <= 1e12 or symbol.strip() in scales:
            expected = "a positive number such as 0.01, or SYMBOL=0.01 pairs separated by commas"
            raise ParameterError("price_scale", text, expected)
        scales[symbol.strip()] = PriceScale(symbol.strip(), factor, until)
    return tuple(scales.values())


def without_repeats(splits: Iterable[Split]) -> tuple[Split, ...]:
    """Return splits in order of symbol and time.

    Raises:
        ParameterError: two of one symbol and time.
    """
    ordered = sorted(splits, key=lambda split: (split.symbol, split.since))
    for one, other in pairwise(ordered):
        if (one.symbol, one.since) == (other.symbol, other.since):
            raise ParameterError("splits", str(one), "one split of a symbol at a time")
    return tuple(ordered)
