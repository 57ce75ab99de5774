"""References: a version's training inputs, and thresholds for the symbols that a window has.

The stored thresholds hold for all symbols of the version. A window with fewer symbols is a smaller
sample of other series. Its thresholds are made from the reference rows of its symbols, once per set
of symbols.
"""

import io
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from pipelines.recipes.reference import DriftProfile, drift_profile, recent_rows, sample_rows
from registry.version_files import DRIFT_FILE, REFERENCE_FILE, VersionFiles

if TYPE_CHECKING:
    from monitoring.evidently_report import EvidentlyJudge

LEAST_PRESENCE = 0.5


class References:
    """The reference rows and thresholds that windows of one version are compared with."""

    def __init__(self, version: VersionFiles) -> None:
        self._version = version
        self._prepared: dict[frozenset[str], tuple[DriftProfile, EvidentlyJudge]] = {}

    @cached_property
    def profile(self) -> DriftProfile:
        """The stored profile, for all symbols."""
        return DriftProfile.from_json(self._version.read(DRIFT_FILE))

    @cached_property
    def panel(self) -> pl.DataFrame:
        """The reference rows: symbol, timestamp, one column per feature."""
        return recent_rows(pl.read_parquet(io.BytesIO(self._version.read(REFERENCE_FILE))))

    def judge(self, current: pl.DataFrame) -> tuple[DriftProfile, dict[str, float]]:
        """Return the profile for the window's symbols, and the statistic of each column."""
        symbols = self._symbols(current)
        profile, judge = self._for(symbols)
        return profile, judge.statistics(_of(current, symbols))

    def page(self, current: pl.DataFrame, statistics: Mapping[str, float]) -> str:
        """Return Evidently's page of a window whose statistics are known."""
        symbols = self._symbols(current)
        return self._for(symbols)[1].html(_of(current, symbols), statistics)

    def _symbols(self, current: pl.DataFrame) -> frozenset[str]:
        """Return the reference's symbols that have at least half of the window's bar times."""
        least = LEAST_PRESENCE * current["timestamp"].n_unique()
        present = current.group_by("symbol").len().filter(pl.col("len") >= least)["symbol"]
        known = frozenset(self.panel["symbol"].unique().to_list())
        return (known & frozenset(present.to_list())) or known

    def _for(self, symbols: frozenset[str]) -> "tuple[DriftProfile, EvidentlyJudge]":
        from monitoring.evidently_report import EvidentlyJudge

        if symbols not in self._prepared:
            panel = _of(self.panel, symbols)
            profile = self.profile
            if len(panel) < len(self.panel):
                profile = drift_profile(panel, profile.importance, profile.window_bars)
            self._prepared[symbols] = profile, EvidentlyJudge(sample_rows(panel), profile)
        return self._prepared[symbols]


def _of(panel: pl.DataFrame, symbols: frozenset[str]) -> pl.DataFrame:
    return panel.filter(pl.col("symbol").is_in(sorted(symbols)))
