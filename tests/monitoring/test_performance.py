from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from monitoring.performance import ValidatedExcess, realised_performance, validated_excess
from monitoring.settings import MonitoringSettings
from pipelines.recipes.excess import deviation_of_means
from pipelines.templates import TEMPLATES
from registry.gates import GateRow

START = datetime(2007, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def make_means(excess: np.ndarray) -> pl.DataFrame:
    n = len(excess)
    return pl.DataFrame(
        {
            "as_of": [START + i * DAY for i in range(n)],
            "known_at": [START + (i + 5) * DAY for i in range(n)],
            "loss": -8.0 + excess,
            "baseline_loss": np.full(n, -8.0),
        }
    )


NOTHING = ValidatedExcess(0.0)
NOISE = 0.1 * np.random.default_rng(0).standard_normal(100)


@pytest.mark.parametrize(("excess", "fell"), [(-0.05, False), (-0.02, False), (0.2, True)])
def test_a_fall_is_an_excess_above_validation_by_more_than_the_limit(excess, fell):
    validated = ValidatedExcess(-0.05, 0.2)
    facts = realised_performance(make_means(excess + NOISE), START + 200 * DAY, validated, 0.5)
    assert facts["fell"] is fell and facts["n_times"] == 63
    assert facts["excess"] == pytest.approx(excess + NOISE[-63:].mean())


def test_labels_that_are_not_complete_yet_do_not_count():
    worse = np.r_[np.zeros(40), np.full(60, 9.0)] + NOISE
    facts = realised_performance(make_means(worse), START + 44 * DAY, NOTHING, 0.5)
    assert facts["n_times"] == 40 and facts["fell"] is False


def test_too_few_labels_say_nothing():
    facts = realised_performance(make_means(NOISE[:20] + 5), START + 99 * DAY, NOTHING, 0.5)
    assert facts["fell"] is None and "excess" not in facts
    assert facts["why"] == "20 labelled bar times, 21 are needed"


def test_sixty_three_bar_times_cannot_judge_labels_of_a_month_and_say_so():
    worse = make_means(9.0 + NOISE)
    facts = realised_performance(worse, START + 200 * DAY, NOTHING, 0.5, horizon_bars=21)
    assert facts["fell"] is None and facts["t"] is None
    assert facts["why"] == "63 dates are too few, 189 are needed for labels of 21 bars"


def test_the_expected_excess_is_what_validation_measured_or_the_baseline():
    gate = TEMPLATES.get("volatility_forecast").excess_gate
    known = [GateRow("quality.qlike_vs_ewma", -0.07, "<", 0.0)]
    assert validated_excess(known, gate) == ValidatedExcess(-0.07)
    assert validated_excess([GateRow("quality.bias", 1.0, "<", 2.0)], gate) == NOTHING
    assert validated_excess([], "") == NOTHING
    measured = GateRow("monitoring.excess", -0.07, "<=", -0.04)
    assert validated_excess([*known, measured], "").mean == -0.07
    assert validated_excess([*known, measured], "").deviation == pytest.approx(0.03)
    unknown = GateRow("monitoring.excess", None, "<=", 0.0)
    assert validated_excess([unknown, *known], gate) == ValidatedExcess(-0.07)


@pytest.mark.parametrize("unit", [0.01, 1.0, 300.0])
def test_a_fall_means_the_same_in_every_unit_of_loss(unit):
    validated = ValidatedExcess(-0.05 * unit, 0.2 * unit)
    for excess, fell in ((0.0, False), (0.09, True)):
        means = make_means(unit * (excess + 0.3 * NOISE))
        facts = realised_performance(means, START + 200 * DAY, validated, 0.5)
        assert facts["fell"] is fell
        assert facts["least_fall"] == pytest.approx(0.1 * unit)


def test_versions_of_earlier_releases_keep_the_fall_of_their_day():
    for excess, fell in ((0.03, False), (0.08, True)):
        means = make_means(excess + 0.1 * NOISE)
        facts = realised_performance(means, START + 200 * DAY, ValidatedExcess(0.0), 0.5)
        assert facts["fell"] is fell and facts["least_fall"] == 0.05


def test_a_large_fall_within_chance_and_a_sure_one_that_is_small_are_no_falls():
    wild = make_means(0.3 + 40 * NOISE)
    facts = realised_performance(wild, START + 200 * DAY, ValidatedExcess(0.0, 0.1), 0.5)
    assert facts["excess"] > facts["least_fall"] and facts["fell"] is False
    sure = make_means(0.02 + 0.01 * NOISE)
    facts = realised_performance(sure, START + 200 * DAY, ValidatedExcess(0.0, 0.1), 0.5)
    assert facts["t"] > 5 and facts["fell"] is False


# False confirmations, by simulation ------------------------------------------------------------


def overlapping(shocks: np.ndarray, h: int) -> np.ndarray:
    totals = np.cumsum(np.append(0.0, shocks))
    return totals[h:] - totals[:-h]


def decaying(shocks: np.ndarray, h: int) -> np.ndarray:
    out = shocks.copy()
    for i in range(1, len(out)):
        out[i] += np.exp(-1 / h) * out[i - 1]
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("make", "h"), [(overlapping, 1), (overlapping, 5), (decaying, 5)])
def test_chance_confirms_a_fall_at_most_three_times_in_ten_years(make, h):
    years, settings = 120, MonitoringSettings()
    excess = make(np.random.default_rng(h).standard_normal(5000 + 252 * years), h)
    past, later = excess[:4800], excess[4800:]
    validated = ValidatedExcess(float(past.mean()), deviation_of_means(past, h))
    fell = []
    for end in range(63, len(later), 35):  # those that count: every 35 bar times of steps of 5
        means = make_means(later[end - 63 : end])
        facts = realised_performance(
            means, START + 99 * DAY, validated, settings.performance_fall, h
        )
        fell.append(facts["fell"] is True)
    needed, of = settings.drift_windows_needed, settings.drift_windows_of
    met = [fell[i] and sum(fell[max(0, i + 1 - of) : i + 1]) >= needed for i in range(len(fell))]
    onsets = sum(now and not before for before, now in pairwise(met))
    assert onsets / years < 0.3
