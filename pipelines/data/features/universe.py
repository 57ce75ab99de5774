"""Universe: a panel feature set streamed, one handle for all symbols of a version.

A timestamp is computed when every symbol has a bar at it or after it, or when a grace period has
passed since its first bar came. Symbols without a bar there are named. Bars of one symbol go
through the rules of its own `FeatureStream`.

Law: while no symbol is missing, the rows are those of `compute_panel` to 1e-10. A bar that comes
after its timestamp was computed enters its symbol's history and is counted late. To take it into
the rows, open the universe anew on the stored bars. Not safe for threads: the owner holds a lock.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.data.bars import BarSeries
from pipelines.data.features import indicators as ind
from pipelines.data.features.cross_section import (
    BETA_BARS,
    CLOSE_ONLY,
    FEATURE_SET,
    MARKET_NAMES,
    MIN_SYMBOLS,
    OWN_NAMES,
    TAKEN,
    aligned,
    market_features,
    own_features,
)
from pipelines.data.features.streaming import Bar, FeatureStream
from registry.errors import ParameterError, TooFewSymbolsError

N_PANEL = len(MARKET_NAMES) + len(OWN_NAMES)


@dataclass(frozen=True, slots=True)
class PanelRow:
    """The features of a universe at one timestamp.

    `values` is (n_symbols, n_features), one row per symbol that has a bar; `missing` are the
    symbols that have none.
    """

    timestamp: int
    symbols: tuple[str, ...]
    values: ind.Array
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """One symbol's row of `close_only` and its log return."""

    row: ind.Array
    move: float


class UniverseStream:
    """Features of all symbols at the newest timestamps.

    Args:
        series: the bars there are, one series per symbol of the universe.
        interval: `1d`, `5m`, ...
        grace_seconds: how long a timestamp waits for symbols whose bar has not come.
        clock: seconds that never go back.

    Raises:
        TooFewSymbolsError: fewer than 10 symbols.
    """

    def __init__(
        self,
        series: Sequence[BarSeries],
        interval: str,
        grace_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if len(series) < MIN_SYMBOLS:
            raise TooFewSymbolsError(FEATURE_SET.name, MIN_SYMBOLS, [s.symbol for s in series])
        self.symbols = tuple(one.symbol for one in series)
        self.late = 0
        self._grace, self._clock = grace_seconds, clock
        self._streams = {s.symbol: FeatureStream(CLOSE_ONLY, s, interval) for s in series}
        self._closes = {s.symbol: float(s.close[-1]) if len(s) else np.nan for s in series}
        self._pending: dict[int, dict[str, _Part]] = {}
        self._since: dict[int, float] = {}
        self._done = max((int(s.timestamp[-1]) for s in series if len(s)), default=-1)
        self._taken, self._returns = _history(series)

    def update(self, symbol: str, bar: Bar) -> list[PanelRow]:
        """Take a closed bar; return the timestamps it completed, oldest first.

        Raises:
            ParameterError: a symbol outside the universe.
        """
        if symbol not in self._streams:
            raise ParameterError("symbol", symbol, f"one of {', '.join(self.symbols)}")
        row = self._streams[symbol].update(bar)
        if row is None:
            return []
        part = _Part(row, float(np.log(bar.close / self._closes[symbol])))
        self._closes[symbol] = bar.close
        if bar.timestamp <= self._done:
            self.late += 1
            return []
        self._pending.setdefault(bar.timestamp, {})[symbol] = part
        self._since.setdefault(bar.timestamp, self._clock())
        return self.due()

    def due(self) -> list[PanelRow]:
        """Return the timestamps that are complete or whose grace period has passed."""
        return list(self._due())

    def peek(self, bars: Mapping[str, Bar]) -> PanelRow:
        """Return the row that forming bars of one timestamp would make; nothing changes."""
        parts = {}
        for symbol, bar in bars.items():
            move = float(np.log(bar.close / self._closes[symbol]))
            parts[symbol] = _Part(self._streams[symbol].peek(bar), move)
        taken, returns = self._with(parts)
        return self._panel_row(max(bar.timestamp for bar in bars.values()), parts, taken, returns)

    def _due(self) -> Iterator[PanelRow]:
        for timestamp in sorted(self._pending):
            has_passed = self._clock() - self._since[timestamp] >= self._grace
            if not has_passed and any((s.last or -1) < timestamp for s in self._streams.values()):
                return
            parts = self._pending.pop(timestamp)
            del self._since[timestamp]
            self._done = timestamp
            taken, returns = self._with(parts)
            if np.isfinite(returns[-1]).sum() >= MIN_SYMBOLS:
                self._taken, self._returns = taken, returns
            yield self._panel_row(timestamp, parts, taken, returns)

    def _with(self, parts: Mapping[str, _Part]) -> tuple[ind.Array, ind.Array]:
        """Return the kept columns and returns, with one more timestamp."""
        row = np.full((len(TAKEN), 1, len(self.symbols)), np.nan)
        moves = np.full((1, len(self.symbols)), np.nan)
        for i, symbol in enumerate(self.symbols):
            if symbol in parts:
                row[:, 0, i], moves[0, i] = parts[symbol].row[list(TAKEN)], parts[symbol].move
        keep = FEATURE_SET.min_history
        taken = np.concatenate([self._taken, row], axis=1)[:, -keep:]
        return taken, np.concatenate([self._returns, moves])[-keep:]

    def _panel_row(
        self, timestamp: int, parts: Mapping[str, _Part], taken: ind.Array, returns: ind.Array
    ) -> PanelRow:
        present = [i for i, symbol in enumerate(self.symbols) if symbol in parts]
        symbols = tuple(self.symbols[i] for i in present)
        added = np.full((len(present), N_PANEL), np.nan)
        if np.isfinite(returns[-1]).sum() >= MIN_SYMBOLS:
            market = market_features(taken, returns)[-1:]
            own = own_features(taken[:, -1:], returns[-BETA_BARS:], market)[0]
            added = np.concatenate([np.repeat(market, len(present), axis=0), own[present]], axis=1)
        rows = np.array([parts[symbol].row for symbol in symbols])
        missing = tuple(symbol for symbol in self.symbols if symbol not in parts)
        return PanelRow(timestamp, symbols, np.concatenate([rows, added], axis=1), missing)


def _history(series: Sequence[BarSeries]) -> tuple[ind.Array, ind.Array]:
    """Return columns (7, n_times, n_symbols) and returns of the newest panel timestamps."""
    taken, returns, _, _ = aligned(series, [CLOSE_ONLY.compute(one) for one in series])
    keep = FEATURE_SET.min_history
    return taken[:, -keep:], returns[-keep:]
