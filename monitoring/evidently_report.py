"""Evidently's view of one window: its statistic per column, and its report as HTML.

Evidently computes the numbers that decide: normed Wasserstein for every column, with the version's
own thresholds. Its HTML costs seconds and five megabytes per window, so it is rendered only for
windows that somebody will open. The verdict per column in the HTML must be the recorded one.
Importing Evidently takes seconds: only the drift stage does it, and only once it has windows.
"""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.recipes.reference import STATISTIC, DriftProfile
from registry.errors import DriftDisagreementError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside Evidently's own imports
    import pandas as pd
    from evidently import Report
    from evidently.legacy.calculations.stattests import wasserstein_stat_test
    from evidently.legacy.core import ColumnType
    from evidently.presets import DataDriftPreset

RELATIVE_TOLERANCE = 1e-6


class EvidentlyJudge:
    """Compares windows with one reference.

    Args:
        reference: symbol, timestamp, one float column per feature; at most some 10,000 rows.
        profile: thresholds of the same columns.
    """

    def __init__(self, reference: pl.DataFrame, profile: DriftProfile) -> None:
        self._names = list(profile.thresholds)
        self._reference = _pandas(reference, self._names)
        self._profile = profile

    def statistics(self, current: pl.DataFrame) -> dict[str, float]:
        """Return the statistic of each column of a window, in reference standard deviations."""
        window = _pandas(current, self._names)
        return {
            name: float(
                wasserstein_stat_test.func(
                    self._reference[name].dropna(),
                    window[name].dropna(),
                    ColumnType.Numerical,
                    self._profile.thresholds[name],
                )[0]
            )
            for name in self._names
        }

    def html(self, current: pl.DataFrame, statistics: Mapping[str, float]) -> str:
        """Return the report of a window as a page that needs no network.

        Args:
            statistics: what `statistics` returned for the same window.

        Raises:
            DriftDisagreementError: the page would show another verdict than the one recorded.
        """
        preset = DataDriftPreset(
            columns=self._names,
            num_method=STATISTIC,
            per_column_threshold=dict(self._profile.thresholds),
            drift_share=self._profile.share_limit,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas and plotly inside Evidently
            snapshot = Report([preset], include_tests=True).run(
                _pandas(current, self._names), self._reference
            )
            self._check(snapshot.dict()["metrics"], statistics)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "report.html"
                snapshot.save_html(str(path))
                return path.read_text()

    def _check(self, metrics: Sequence[Mapping[str, Any]], statistics: Mapping[str, float]) -> None:
        shown = {
            metric["config"]["column"]: float(metric["value"])
            for metric in metrics
            if "column" in metric["config"]
        }
        for name in self._names:
            ours, theirs = statistics[name], shown.get(name, float("nan"))
            if not abs(ours - theirs) <= RELATIVE_TOLERANCE * max(1.0, abs(ours)):
                raise DriftDisagreementError(name, ours, theirs)


def _pandas(frame: pl.DataFrame, names: Sequence[str]) -> "pd.DataFrame":
    return pd.DataFrame(
        {n: frame[n].cast(pl.Float64).fill_null(float("nan")).to_numpy() for n in names}
    )
