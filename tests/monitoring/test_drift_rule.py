"""The figures of docs/decisions/0002-drift-thresholds.md: `pytest -m slow -s` on this file."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.settings import MonitoringSettings
from pipelines.data.bars import Bars, check_bars
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters
from pipelines.recipes.inputs.bars import build_rows, features_of
from pipelines.recipes.recipe import Recipe
from pipelines.recipes.reference import (
    DriftProfile,
    NormedWasserstein,
    drift_profile,
    recent_rows,
    sample_rows,
)

pytestmark = pytest.mark.slow
SETTINGS = MonitoringSettings()
RECIPE = Recipe.resolve(RecipeParameters())
FEATURES = features_of(RECIPE)
NAMES = FEATURES.feature_names


def label(bars: Bars) -> LabelledRows:
    spec = RECIPE.template.label_spec(5, list(bars.series()), RECIPE.options)
    return build_rows(RECIPE.template, FEATURES, bars, 1, spec)


def panel(rows: LabelledRows) -> pl.DataFrame:
    times = pl.Series(rows.t0).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    columns = {name: rows.X[:, i] for i, name in enumerate(NAMES)}
    return pl.DataFrame(
        {"symbol": np.array(rows.symbols)[rows.symbol], "timestamp": times, **columns}
    )


def shares(
    profile: DriftProfile, reference: pl.DataFrame, current: pl.DataFrame
) -> list[tuple[datetime, float]]:
    """Judge every fifth window of 21 bar times; (end, drifted share)."""
    sample = sample_rows(recent_rows(reference))
    distance = {n: NormedWasserstein(sample[n].cast(pl.Float64).to_numpy()) for n in NAMES}
    times = current["timestamp"].unique().sort().to_list()
    found = []
    for i in range(20, len(times), SETTINGS.drift_step_bars):
        window = current.filter(pl.col("timestamp").is_between(times[i - 20], times[i]))
        values = {n: distance[n](window[n].cast(pl.Float64).to_numpy()) for n in NAMES}
        found.append((times[i], profile.drifted_share(values)))
    return found


def counting(judged: list[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """Return the windows that share less than half of their 21 bars: every third, 15 bars apart."""
    assert SETTINGS.drift_step_bars == 5
    return judged[::3]


def confirmed(judged: list[tuple[datetime, float]]) -> list[datetime]:
    found, ends = [], counting(judged)
    for i, (end, share) in enumerate(ends):
        drifted = [s >= 0.5 for _, s in ends[: i + 1]][-SETTINGS.drift_windows_of :]
        if share >= 0.5 and sum(drifted) >= SETTINGS.drift_windows_needed:
            found.append(end)
    return found


def test_on_the_bundled_stocks_calm_2007_is_not_confirmed_and_2008_is():
    bars = SOURCES.get("sample").read(BarQuery(end=datetime(2008, 12, 31, 23, tzinfo=UTC)))
    rows = label(bars)
    cut = int(datetime(2006, 12, 31, 23, tzinfo=UTC).timestamp() * 1e6)
    training = rows.take(rows.t1 <= cut)
    importance = RECIPE.fit(training).importance(training.X[:: len(training) // 2000])
    profile = drift_profile(panel(training), dict(zip(NAMES, importance.tolist(), strict=True)))
    judged = shares(profile, panel(training), panel(rows.take(rows.t0 > cut)))
    ends = confirmed(judged)
    for year in (2007, 2008):
        print(year, "largest share", round(max(s for end, s in judged if end.year == year), 2))
    print("first confirmed", ends[0].date())
    assert ends and min(end.year for end in ends) == 2008


def garch(n: int, seed: int) -> np.ndarray:
    """A stationary panel of 20 return series with one common factor, Student-t GARCH(1,1)."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(6, (n, 21)) / np.sqrt(1.5)
    variance, path = np.ones(21), np.empty((n, 21))
    for t in range(n):
        path[t] = np.sqrt(variance) * shocks[t]
        variance = 0.02 + 0.07 * path[t] ** 2 + 0.91 * variance
    return 0.01 * (0.6 * path[:, :1] + 0.8 * path[:, 1:])


def test_without_any_drift_the_rule_is_confirmed_less_than_once_in_twenty_months():
    onsets = months = over = windows = 0
    for seed in range(4):
        closes = 100 * np.exp(np.cumsum(garch(2600, seed), axis=0))
        times = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(2600)]
        frame = pl.DataFrame(
            {
                "symbol": np.repeat([f"S{i:02}" for i in range(20)], 2600),
                "timestamp": times * 20,
                "close": closes.T.ravel(),
            }
        )
        bars = Bars(check_bars(frame, policy="strict", where="garch")[0], "1d", "raw", "garch")
        stationary = panel(label(bars))
        before = pl.col("timestamp") < times[1600]
        profile = drift_profile(stationary.filter(before), {})
        judged = shares(profile, stationary.filter(before), stationary.filter(~before))
        ends, every = confirmed(judged), [end for end, _ in counting(judged)]
        place = [every.index(end) for end in ends]
        onsets += sum(1 for i in place if i - 1 not in place)
        over += sum(share >= 0.5 for _, share in judged)
        windows, months = windows + len(judged), months + len(judged) * 5 / 21
    print(f"{over} of {windows} windows over the limit; {onsets} onsets in {months:.0f} months")
    assert onsets / months < 1 / 20
