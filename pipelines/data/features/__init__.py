"""Feature sets: one definition of what a model sees, for training and serving alike.

Extension point: one file per set here, one line in `FEATURE_SETS`, one line in docs/features.md;
`tests/conformance/test_features.py` then runs on it.

Guarantees of every set:
- causal: `compute(series.slice(0, t + 1))[t]` equals `compute(series)[t]`;
- per symbol, and scale-free: multiplying every price by a constant changes nothing;
- rows that cannot be computed yet are NaN, never a guess;
- over the newest `min_history` bars the last row equals its full-history value to 1e-6;
- a row streamed bar by bar equals the row of the batch (`pipelines.data.features.streaming`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from registry.catalog import Catalog
from registry.errors import BarsError, MissingColumnsError


@dataclass(frozen=True, slots=True)
class RequestAlias:
    """A name under which a request may override one feature.

    `unit` says what the caller's number is: `feature` is the feature's own unit, `price` is quote
    currency and is divided by the newest close, `percent` is divided by 100.
    """

    feature: str
    unit: Literal["feature", "price", "percent"] = "feature"


class RowStream(Protocol):
    """State carried from bar to bar; only `pipelines.data.features.streaming` calls it.

    `bars` are the newest `min_history` bars, newest last, finite in every column the set needs.
    """

    def update(self, bars: BarSeries) -> NDArray[np.float64]:
        """Take the newest of `bars` and return its features, (n_features,)."""
        ...

    def peek(self, bars: BarSeries) -> NDArray[np.float64]:
        """Return the same as `update`, but change nothing."""
        ...


class FeatureSet(Protocol):
    """A named list of features of one symbol's bars.

    `needs` are the columns it takes; `instead` names the set to choose where a source lacks one
    ("" for none); `needs_trades` says that volumes which are all zero are refused.
    """

    name: str
    feature_names: tuple[str, ...]
    needs: tuple[str, ...]
    instead: str
    needs_trades: bool
    aliases: Mapping[str, RequestAlias]
    min_history: int

    def compute(self, series: BarSeries) -> NDArray[np.float64]:
        """Return the features, shape (n_bars, n_features), NaN while warming up."""
        ...

    def stream(self, series: BarSeries) -> RowStream:
        """Return the state that carries on from the newest of at least `min_history` bars."""
        ...


class PanelSet(FeatureSet, Protocol):
    """A set that sees all symbols of a universe at once; `compute` and `stream` refuse.

    `compute_all` is the way in. The guarantees hold for the universe as a whole: causal when all
    its symbols are cut at one time.
    """

    min_symbols: int

    def compute_panel(self, series: Sequence[BarSeries]) -> list[NDArray[np.float64]]:
        """Return the features of every symbol, (n_bars, n_features) each, in the order given.

        Raises:
            TooFewSymbolsError: fewer than `min_symbols` symbols.
        """
        ...


def is_panel(feature_set: FeatureSet) -> TypeGuard[PanelSet]:
    """Return whether a set sees all symbols at once."""
    return hasattr(feature_set, "compute_panel")


FEATURE_SETS: Catalog[FeatureSet] = Catalog(
    "feature set",
    {
        "alpha158": "pipelines.data.features.alpha158:FEATURE_SET",
        "alpha158_typical": "pipelines.data.features.alpha158:TYPICAL",
        "close_only": "pipelines.data.features.close_only:FEATURE_SET",
        "cross_section": "pipelines.data.features.cross_section:FEATURE_SET",
        "ohlcv": "pipelines.data.features.ohlcv:FEATURE_SET",
        "returns": "pipelines.data.features.returns:FEATURE_SET",
    },
)


def check_columns(feature_set: FeatureSet, series: BarSeries) -> None:
    """Refuse bars that lack a column the set needs.

    Raises:
        MissingColumnsError: a needed column is entirely null.
        BarsError: every volume is zero, and the set divides by volumes.
    """
    missing = _missing(feature_set, series)
    if missing:
        choice = _instead(feature_set, series)
        hint = f"choose feature_set={choice} or another source" if choice else "take another source"
        hint = f"{series.symbol} has none; {hint}"
        raise MissingColumnsError(f"feature set {feature_set.name!r}", missing, hint)
    if feature_set.needs_trades and not (series.volume > 0).any():
        problem = f"every volume is zero, and feature set {feature_set.name!r} divides by it"
        hint = "choose feature_set=close_only or another source"
        raise BarsError(problem, series.symbol, hint)


def _missing(feature_set: FeatureSet, series: BarSeries) -> list[str]:
    return [c for c in feature_set.needs if np.isnan(getattr(series, c)).all()]


def _instead(feature_set: FeatureSet, series: BarSeries) -> str:
    """Return the first set, following `instead`, that has the columns it needs; "" for none."""
    name = feature_set.instead
    while name and _missing(FEATURE_SETS.get(name), series):
        name = FEATURE_SETS.get(name).instead
    return name


def compute_all(feature_set: FeatureSet, series: Sequence[BarSeries]) -> list[NDArray[np.float64]]:
    """Return the features of every symbol, (n_bars, n_features) each, in the order given.

    Raises:
        TooFewSymbolsError: a panel set, and fewer symbols than it needs.
    """
    if is_panel(feature_set):
        return feature_set.compute_panel(series)
    return [feature_set.compute(one) for one in series]


def fingerprint(feature_set: FeatureSet) -> str:
    """Return a digest of what the set computes, not of how its source reads.

    The set is run on fixed bars and its newest values, rounded to six significant digits, are
    hashed with the names. A renamed variable keeps the fingerprint; a changed formula does not.
    """
    n_symbols = feature_set.min_symbols if is_panel(feature_set) else 1
    n_bars = max(600, feature_set.min_history)
    values = compute_all(feature_set, [_probe(n_bars, i) for i in range(n_symbols)])
    rows = (row for one in values for row in one[-50:])
    text = "\n".join(",".join(f"{v:.6g}" for v in row) for row in rows)
    return hashlib.sha256(f"{feature_set.feature_names}\n{text}".encode()).hexdigest()


def windows(
    values: NDArray[np.float64], rows: Sequence[int] | NDArray[np.intp], window: int
) -> NDArray[np.float32]:
    """Return float32 inputs for the given row numbers.

    Args:
        values: (n_bars, n_features) of one symbol.
        rows: row numbers, each at least `window - 1`.

    Returns:
        (n_rows, n_features) when window is 1, else (n_rows, window, n_features), step in time
        order, newest last.
    """
    index = np.asarray(rows, dtype=np.intp)
    if window == 1:
        return np.ascontiguousarray(values[index], dtype=np.float32)
    steps = index[:, None] + np.arange(1 - window, 1)
    return np.ascontiguousarray(values[steps], dtype=np.float32)


def _probe(n: int, number: int) -> BarSeries:
    noise = _noise(5 * (number + 1), n)[-5:]
    close = 100 * np.exp(np.cumsum(0.02 * noise[0]))
    opened = close * np.exp(0.005 * noise[1])
    high = np.maximum(opened, close) * (1 + 0.005 * np.abs(noise[2]))
    low = np.minimum(opened, close) * (1 - 0.005 * np.abs(noise[3]))
    volume = 1e6 * np.exp(0.5 * noise[4])
    stamp = np.arange(n, dtype=np.int64) * 86_400_000_000
    typical = (high + low + close) / 3
    return BarSeries(
        f"PROBE{number}", stamp, opened, high, low, close, volume, typical, np.full(n, 1e-4)
    )


def _noise(n_rows: int, n_columns: int) -> NDArray[np.float64]:
    """Return numbers in [-1, 1) by SplitMix64 (doi:10.1145/2714064.2660195).

    Not numpy's generators: their streams may change between releases, and with them every
    fingerprint ever recorded.
    """
    state = np.arange(1, n_rows * n_columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = (state ^ (state >> np.uint64(31))) >> np.uint64(11)
    return (mixed.astype(np.float64) / 2**52 - 1).reshape(n_rows, n_columns)
