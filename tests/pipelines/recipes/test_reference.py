from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance

from pipelines.recipes.reference import (
    MAX_ROWS,
    SMALLEST_THRESHOLD,
    DriftProfile,
    NormedWasserstein,
    drift_profile,
    recent_rows,
    sample_rows,
)
from registry.errors import TooLittleHistoryError

START = datetime(2000, 1, 3, 21, tzinfo=UTC)


def make_panel(columns, n_symbols: int) -> pl.DataFrame:
    """A daily panel; each column has shape (n_times, n_symbols)."""
    n_times = len(next(iter(columns.values())))
    times = [START + timedelta(days=i) for i in range(n_times)]
    return pl.DataFrame(
        {
            "symbol": [f"S{i:02}" for i in range(n_symbols)] * n_times,
            "timestamp": np.repeat(np.array(times, dtype=object), n_symbols).tolist(),
            **{name: values.ravel() for name, values in columns.items()},
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


SIZES = list(product([1, 2, 37, 500], [1, 3, 37, 420]))
DRAWN = {
    "normal": lambda rng, size, shift: rng.standard_normal(size) + shift,
    "ties": lambda rng, size, shift: rng.integers(0, 4, size) + shift,
    "apart": lambda rng, size, shift: rng.standard_normal(size) + 100 * shift,
    "constant": lambda _, size, shift: np.full(size, 2.0 * shift),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_the_distance_is_scipys_divided_by_the_references_deviation(kind):
    for n, m in SIZES:
        rng = np.random.default_rng(n * 1000 + m)
        reference, sample = DRAWN[kind](rng, n, 0.0) * 1.0, DRAWN[kind](rng, m, 1.0) * 1.5
        expected = wasserstein_distance(reference, sample) / max(np.std(reference), 0.001)
        found = NormedWasserstein(reference)(sample)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), (n, m)


def test_the_distance_of_the_reference_to_itself_is_zero():
    values = np.random.default_rng(0).standard_normal(300)
    assert NormedWasserstein(values)(values) == pytest.approx(0, abs=1e-12)


@pytest.mark.integration
@pytest.mark.xdist_group("evidently")
@pytest.mark.filterwarnings("ignore")  # of Evidently's own imports
def test_the_distance_is_the_one_evidently_reports():
    import pandas as pd
    from evidently.legacy.calculations.stattests import wasserstein_stat_test
    from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(3)
    for scale in (1.0, 1e-5):  # the second has its deviation floored
        reference, sample = rng.standard_normal(1000) * scale, rng.standard_t(4, 210) * scale
        found = wasserstein_stat_test.func(
            pd.Series(reference), pd.Series(sample), ColumnType.Numerical, 0.1
        )[0]
        assert NormedWasserstein(reference)(sample) == pytest.approx(found, rel=1e-9)


def test_a_threshold_is_the_quantile_over_contiguous_blocks():
    values = np.cumsum(np.random.default_rng(1).standard_normal((120, 3)), axis=0)
    profile = drift_profile(make_panel({"x": values}, 3), {"x": 1.0}, window_bars=10)
    blocks = [
        wasserstein_distance(values.ravel(), values[i : i + 10].ravel()) / values.std()
        for i in range(111)
    ]
    assert profile.n_blocks == 111
    assert profile.thresholds["x"] == pytest.approx(np.quantile(blocks, 0.995), rel=1e-9)


def test_slow_columns_get_wider_thresholds_than_independent_ones():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((500, 5))
    slow = np.apply_along_axis(lambda x: np.convolve(x, np.ones(60) / 60, "same"), 0, noise)
    profile = drift_profile(make_panel({"noise": noise, "slow": slow}, 5), {})
    assert profile.thresholds["slow"] > 2 * profile.thresholds["noise"]
    assert profile.importance == {"noise": 0.5, "slow": 0.5}


def test_a_constant_column_is_judged_by_the_smallest_threshold():
    profile = drift_profile(make_panel({"x": np.ones((60, 2))}, 2), {"x": 3.0})
    assert profile.thresholds == {"x": SMALLEST_THRESHOLD} and profile.importance == {"x": 1.0}
    assert profile.drifted_share({"x": 0.0}) == 0.0


def test_the_share_adds_up_the_importance_of_columns_over_their_threshold():
    rng = np.random.default_rng(4)
    panel = make_panel({"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))}, 2)
    profile = drift_profile(panel, {"a": 3.0, "b": 1.0})
    assert profile.drifted_share({"a": profile.thresholds["a"], "b": 0.0}) == 0.75
    assert profile.drifted_share({"a": 0.0, "b": 99.0}) == 0.25


def test_the_profile_survives_json():
    panel = make_panel({"x": np.random.default_rng(5).normal(size=(60, 2))}, 2)
    profile = drift_profile(panel, {"x": 1.0})
    assert DriftProfile.from_json(profile.to_json()) == profile
    assert profile.is_usable


def test_missing_values_are_left_out_of_the_distance():
    values = np.random.default_rng(6).standard_normal((80, 2))
    values[3, 1] = np.nan
    assert np.isfinite(drift_profile(make_panel({"x": values}, 2), {}).thresholds["x"])


def test_too_short_a_panel_or_an_empty_column_is_refused():
    with pytest.raises(TooLittleHistoryError, match="a drift reference needs 21 bars"):
        drift_profile(make_panel({"x": np.ones((20, 2))}, 2), {})
    with pytest.raises(TooLittleHistoryError, match="column 'x'"):
        drift_profile(make_panel({"x": np.full((30, 2), np.nan)}, 2), {})


def test_only_the_last_four_years_count_and_the_sample_is_always_the_same():
    panel = make_panel({"x": np.arange(2000.0 * 10).reshape(2000, 10)}, 10)
    recent = recent_rows(panel)
    assert recent["timestamp"].min() == panel["timestamp"].max() - timedelta(days=1461)
    sample = sample_rows(recent)
    assert len(sample) == MAX_ROWS and sample.equals(sample_rows(recent_rows(recent)))


def test_a_large_profile_rests_on_at_most_200_blocks():
    rng = np.random.default_rng(7)
    panel = make_panel({f"f{i}": rng.standard_normal((1000, 20)) for i in range(25)}, 20)
    assert drift_profile(panel, {}).n_blocks == 200
