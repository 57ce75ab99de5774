"""Panels: the newest step of all symbols of a version's universe, for feature sets that need all.

The whole universe is gathered, whichever symbols a request names. Its timestamp is the newest one
at which every symbol has a bar. When a newer timestamp has some bars, the others are waited for, up
to `PANEL_GRACE` seconds since it was first seen here. After that the newer one counts, and the
symbols without a bar are named. Bars of a request are complete: nothing is waited for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np

from pipelines.data.bars import BarSeries, from_microseconds
from pipelines.data.features import check_columns, compute_all, is_panel
from pipelines.templates import over_bars
from registry.errors import BarsError, ParameterError, TooFewSymbolsError
from serving.loading import LoadedVersion
from serving.steps import NewestStep

DEFAULT_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Panel:
    """A universe at one timestamp: `steps` of the symbols with a bar, and those without."""

    at: int
    steps: Mapping[str, NewestStep]
    missing: tuple[str, ...]

    def step(self, symbol: str) -> NewestStep:
        """Return one symbol's newest step.

        Raises:
            BarsError: the symbol has no bar at the panel's timestamp.
            ParameterError: the symbol is not of the universe.
        """
        if symbol in self.missing:
            problem = f"there is no bar at {from_microseconds(self.at).isoformat()}"
            raise BarsError(problem, symbol, "the other symbols of the universe have one")
        if symbol not in self.steps:
            universe = ", ".join((*self.steps, *self.missing))
            raise ParameterError("symbols", symbol, f"one of the version's universe: {universe}")
        return self.steps[symbol]


class Panels:
    """Remembers the newest panel of every universe held. Safe for threads."""

    def __init__(
        self,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace, self._clock = grace_seconds, clock
        self._lock = Lock()  # guards both below
        self._seen: dict[tuple[str, ...], tuple[int, float]] = {}
        self._known: dict[tuple[str, ...], tuple[tuple[BarSeries, ...], Panel]] = {}

    def apart(self) -> "Panels":
        """Return panels that remember the same from now on, and of which these learn nothing.

        A request that goes on looking at the bars of one moment must not set back the time since
        which the others wait for a symbol.
        """
        found = Panels(self._grace, self._clock)
        with self._lock:
            found._seen, found._known = dict(self._seen), dict(self._known)
        return found

    def of_held(self, every: Mapping[str, BarSeries], version: LoadedVersion) -> Panel:
        """Return the newest panel of bars held; computed again only when a series changed.

        `every` must come from `Look.newest`.

        Raises:
            TooFewSymbolsError: too few symbols have a bar at the panel's timestamp.
        """
        contract = version.contract
        universe = (contract.interval, *contract.symbols)
        key = (*universe, contract.feature_set, contract.template, str(contract.window))
        at = self._timestamp(universe, every, version)
        series = tuple(every.values())
        with self._lock:
            before, panel = self._known.get(key, ((), None))
        is_same = len(before) == len(series) and all(map(_is, before, series))
        if panel is not None and is_same and panel.at == at:
            return panel
        found = panel_of(every, at, version)
        with self._lock:
            self._known[key] = (series, found)
        return found

    def _timestamp(
        self, universe: tuple[str, ...], every: Mapping[str, BarSeries], version: LoadedVersion
    ) -> int:
        newest = newest_of(every)
        with self._lock:
            at, since = self._seen.get(universe, (newest, self._clock()))
            since = since if at == newest else self._clock()
            self._seen[universe] = (newest, since)
        absent = [s for s in version.contract.symbols if not _has_bar(every.get(s), newest)]
        if not absent or self._clock() - since >= self._grace:
            return newest
        earlier = [one.timestamp[one.timestamp < newest][-1:] for one in every.values()]
        return int(max(np.concatenate(earlier), default=newest))


def newest_of(every: Mapping[str, BarSeries]) -> int:
    """Return the newest timestamp of any symbol, -1 without any."""
    return max((int(one.timestamp[-1]) for one in every.values() if len(one)), default=-1)


def panel_of(every: Mapping[str, BarSeries], at: int, version: LoadedVersion) -> Panel:
    """Return the panel at a timestamp, from the bars up to it.

    Raises:
        TooFewSymbolsError: too few symbols have a bar there.
    """
    feature_set, template = version.feature_set, over_bars(version.template)
    assert is_panel(feature_set)
    known = [one.slice(0, int((one.timestamp <= at).sum())) for one in every.values()]
    present = [one for one in known if _has_bar(one, at)]
    if len(present) < feature_set.min_symbols:
        names = [one.symbol for one in present]
        raise TooFewSymbolsError(feature_set.name, feature_set.min_symbols, names)
    for one in present:
        check_columns(feature_set, one)
    steps: dict[str, NewestStep] = {}
    with np.errstate(all="ignore"):  # what overflows is not finite, and refused by its name
        rows = compute_all(feature_set, known)
        for one, values in zip(known, rows, strict=True):
            if _has_bar(one, at):
                context = template.context(one)
                newest = {name: float(context[name][-1]) for name in version.context_names}
                steps[one.symbol] = NewestStep(one, values[-version.contract.window :], newest)
    missing = tuple(symbol for symbol in version.contract.symbols if symbol not in steps)
    return Panel(at, steps, missing)


def _has_bar(series: BarSeries | None, at: int) -> bool:
    return series is not None and len(series) > 0 and int(series.timestamp[-1]) == at


def _is(one: BarSeries, other: BarSeries) -> bool:
    return one is other
