"""What is kept of the data behind a trial: enough to know them again under any name.

Of bars: per symbol a sample of at most 512 dates with their closes, on the bars' own times and on
daily closes. Of rows (tables, texts): samples of digests. The hash of a date or of a row decides
whether it is in the sample, so that the samples of two data sets nest: what both have, both keep.
Whether two data sets are the same is said in `pipelines/method/shared_data.py`.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.contract import Json

Array = NDArray[np.float64]

SAMPLE = 512
"""Most dates or digests of one sample."""
MANY = 16_384
"""Digests that are all counted; of more, those that are the smallest."""


@dataclass(frozen=True, slots=True)
class DateSample:
    """Closes at sampled dates of one symbol.

    `dates`: (n,) int64, rising; microseconds UTC of bars, days since 1970 of daily closes. `close`,
    `step`: (n,) float64, the logarithm of the close and its change since the bar (the day) before,
    NaN for the first. `n_dates`: how many dates there were.
    """

    dates: NDArray[np.int64]
    close: Array
    step: Array
    n_dates: int


@dataclass(frozen=True, slots=True)
class SymbolSample:
    """One symbol's bars; `bars` is None where they are not shorter than a day, as `daily` has them.

    `first`, `last`: days since 1970.
    """

    symbol: str
    first: int
    last: int
    daily: DateSample
    bars: DateSample | None = None


@dataclass(frozen=True, slots=True)
class Digests:
    """The smallest digests of a set; `values`: (n,) uint64, rising; `n_values`: size of the set."""

    values: NDArray[np.uint64]
    n_values: int

    @property
    def highest(self) -> int:
        """The digest up to which every member of the set is in the sample."""
        whole = self.n_values <= len(self.values)
        return 2**64 - 1 if whole or not len(self.values) else int(self.values[-1])


@dataclass(frozen=True, slots=True)
class TrialData:
    """The data of a trial.

    `names` are the symbols, or the columns of rows; `interval` is empty without bars; `first`,
    `last`: microseconds UTC. `digests` is empty for bars; else the rows come first, then the
    columns that tell rows apart.
    """

    sha256: str
    names: tuple[str, ...]
    interval: str
    first: int
    last: int
    symbols: tuple[SymbolSample, ...] = ()
    digests: tuple[Digests, ...] = ()


def hashed(numbers: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a well mixed hash of 64-bit numbers (splitmix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = np.ascontiguousarray(numbers).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def sample_dates(dates: NDArray[np.int64], close: Array) -> DateSample:
    """Return the sample of a symbol's closes: the dates with the smallest hashes.

    Args:
        dates: (n,) rising; close: (n,) positive.
    """
    logs = np.log(close)
    step = np.diff(logs, prepend=np.nan)
    chosen = np.sort(np.argsort(hashed(dates.astype(np.int64)), kind="stable")[:SAMPLE])
    return DateSample(dates[chosen].astype(np.int64), logs[chosen], step[chosen], len(dates))


def sample_digests(digests: NDArray[np.uint64]) -> Digests:
    """Return the smallest of these digests; equal ones count once.

    Of many, how many differ is estimated from how densely the smallest lie, within 2 %.
    """
    if len(digests) > MANY:
        smallest = np.unique(np.partition(digests, MANY)[:MANY])
        if len(smallest) > MANY / 4:
            n_values = round((len(smallest) - 1) * 2.0**64 / float(smallest[-1]))
            return Digests(smallest[:SAMPLE], n_values)
    distinct = np.unique(digests)
    return Digests(distinct[:SAMPLE], len(distinct))


# How they are stored -----------------------------------------------------------------------------


def to_columns(data: TrialData) -> dict[str, Any]:
    """Return the columns of `tables.trial_data`."""
    samples = [s for symbol in data.symbols for s in (symbol.daily, symbol.bars) if s is not None]
    arrays = {
        "dates": _joined((s.dates for s in samples), "<i8"),
        "close": _joined((s.close for s in samples), "<f4"),
        "step": _joined((s.step for s in samples), "<f4"),
        "digests": _joined((d.values for d in data.digests), "<u8"),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return {
        "sha256": data.sha256,
        "names": list(data.names),
        "interval": data.interval,
        "first": data.first,
        "last": data.last,
        "symbols": [_symbol_facts(symbol) for symbol in data.symbols],
        "digests": [[len(d.values), d.n_values] for d in data.digests],
        "samples": buffer.getvalue(),
    }


def from_columns(row: Mapping[str, Any]) -> TrialData:
    """Return the data that `to_columns` wrote; closes are exact to float32."""
    with np.load(io.BytesIO(row["samples"]), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    taken = _Reader(arrays)
    return TrialData(
        row["sha256"],
        tuple(row["names"]),
        row["interval"],
        row["first"],
        row["last"],
        tuple(_symbol(facts, taken) for facts in row["symbols"]),
        tuple(Digests(taken.digests(n), total) for n, total in row["digests"]),
    )


def _joined(parts: Iterable[NDArray[Any]], kind: str) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *(part.astype(kind) for part in parts)])


def _symbol_facts(symbol: SymbolSample) -> dict[str, Json]:
    facts: dict[str, Json] = {"symbol": symbol.symbol, "first": symbol.first, "last": symbol.last}
    for name, sample in (("daily", symbol.daily), ("bars", symbol.bars)):
        if sample is not None:
            facts[name] = [len(sample.dates), sample.n_dates]
    return facts


def _symbol(facts: Mapping[str, Any], taken: "_Reader") -> SymbolSample:
    daily = taken.dates(*facts["daily"])
    bars = taken.dates(*facts["bars"]) if "bars" in facts else None
    return SymbolSample(facts["symbol"], facts["first"], facts["last"], daily, bars)


class _Reader:
    """Takes samples off joined arrays, in the order in which they were joined."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._dates = self._digests = 0

    def dates(self, n: int, n_dates: int) -> DateSample:
        part = slice(self._dates, self._dates + n)
        self._dates += n
        dates = self._arrays["dates"][part].astype(np.int64)
        close, step = (self._arrays[name][part].astype(np.float64) for name in ("close", "step"))
        return DateSample(dates, close, step, n_dates)

    def digests(self, n: int) -> NDArray[np.uint64]:
        part = slice(self._digests, self._digests + n)
        self._digests += n
        return self._arrays["digests"][part].astype(np.uint64)


def untold(sha256: str, symbols: Sequence[str], interval: str, first: int, last: int) -> TrialData:
    """Return data of which only names and span are known: there were no samples then."""
    day = 86_400_000_000
    none = DateSample(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), 0)
    known = tuple(SymbolSample(s, first // day, last // day, none) for s in symbols)
    return TrialData(sha256, tuple(symbols), interval, first, last, known)
