"""Challenge: a challenger passes or is refused by the numbers, on rows that neither fit has seen.

Champions are boosters fitted for the purpose: one that overestimates every variance, one that was
fitted on the very window (and says that it was not), and one equal to the challenger's refit.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.method.bootstrap import compare_losses
from pipelines.recipes.candidate import Candidate, write_files
from pipelines.recipes.challenge import challenge
from pipelines.recipes.recipe import newest
from registry.errors import ParameterError, TooLittleHistoryError
from registry.gates import refusals
from registry.version_files import CONTRACT_FILE, VersionFiles, digest_directory

pytestmark = pytest.mark.integration
N_TIMES = 80


@pytest.fixture
def window(candidate: Candidate):
    return newest(candidate.dataset.rows, N_TIMES)


@pytest.fixture
def earlier(candidate: Candidate, window):
    rows = candidate.dataset.rows
    return rows.take(rows.t1 < window.t0.min())


@pytest.fixture
def register(candidate: Candidate, tmp_path: Path) -> Callable[..., VersionFiles]:
    """Factory: a version of these rows' fit that says until when it was trained."""

    def make(rows, trained_until: str = "2001-12-31T00:00:00+00:00", **parameters) -> VersionFiles:
        recipe = replace(candidate.recipe, parameters={**candidate.recipe.parameters, **parameters})
        contract = replace(candidate.contract, trained_until=trained_until)
        native = recipe.fit(rows).native()
        files = {
            CONTRACT_FILE: contract.to_json().encode(),
            "native/model.ubj": native.payload,
            **candidate.decoder.to_files(),
        }
        write_files(tmp_path, files.items())
        return VersionFiles(contract.model_id, 7, tmp_path, digest_directory(tmp_path))

    return make


@pytest.fixture
def biased(register, earlier) -> VersionFiles:
    return register(replace(earlier, target=4 * earlier.target))


@pytest.fixture
def clairvoyant(register, window) -> VersionFiles:
    return register(window, rounds=300, eta=0.3, min_child_weight=1)


@pytest.fixture
def equal(register, earlier) -> VersionFiles:
    return register(earlier)


def loss_of(version: VersionFiles, rows) -> np.ndarray:
    """The version's loss per time, from its booster alone."""
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(version.read("native/model.ubj")))
    margin = booster.predict(xgboost.DMatrix(rows.X), output_margin=True).astype(np.float64)
    forecast = np.exp(margin) * rows.context["ewma_variance"]
    loss = np.log(forecast) + rows.y / forecast
    return np.array([loss[rows.t0 == t].mean() for t in np.unique(rows.t0)])


def test_a_challenger_that_loses_less_passes_as_better(candidate, biased):
    (row,) = challenge(candidate, biased, "", N_TIMES).gates
    assert (row.gate, row.limit, row.passed) == ("champion.better", 0.1, True)


def test_a_challenger_that_loses_more_is_refused_with_the_numbers(candidate, clairvoyant, window):
    found = challenge(candidate, clairvoyant, "", N_TIMES)
    (row,) = found.gates
    assert (row.gate, row.passed) == ("champion.better", False)
    assert row.value > 0.9
    assert found.champion_loss.mean() < found.challenger_loss.mean()
    for part in (
        f"{N_TIMES} bar times",
        f"champion {loss_of(clairvoyant, window).mean():.4f}",
        f"challenger {found.challenger_loss.mean():.4f}",
        f"baseline {found.baseline_loss.mean():.4f}",
    ):
        assert part in row.note


def test_losses_per_time_are_those_of_the_boosters_and_of_the_ewma(
    candidate, biased, equal, window
):
    found = challenge(candidate, equal, "", N_TIMES)
    np.testing.assert_array_equal(found.timestamp, np.unique(window.t0))
    np.testing.assert_allclose(found.champion_loss, loss_of(equal, window), rtol=1e-6)
    ewma = window.context["ewma_variance"]
    loss = np.log(ewma) + window.y / ewma
    expected = [loss[window.t0 == t].mean() for t in np.unique(window.t0)]
    np.testing.assert_allclose(found.baseline_loss, expected, rtol=1e-12)


def test_the_challenger_is_fitted_before_the_window(candidate, equal):
    found = challenge(candidate, equal, "", N_TIMES)
    np.testing.assert_allclose(found.challenger_loss, found.champion_loss, rtol=1e-12)


def test_labels_of_the_window_do_not_reach_the_challenger(candidate, biased, window):
    rows = candidate.dataset.rows
    seen = rows.t1 >= window.t0.min()
    tempting = replace(rows, target=np.where(seen, 40.0, rows.target))
    other = replace(candidate, dataset=replace(candidate.dataset, rows=tempting))
    found = challenge(candidate, biased, "", N_TIMES).challenger_loss
    np.testing.assert_array_equal(challenge(other, biased, "", N_TIMES).challenger_loss, found)


def test_an_equal_challenger_is_not_better_but_not_inferior_either(candidate, equal):
    assert not challenge(candidate, equal, "", N_TIMES).gates[0].passed
    assert challenge(candidate, equal, "data_drift", N_TIMES).gates[0].passed


def test_a_forced_refresh_is_held_to_the_margin(candidate, clairvoyant):
    found = challenge(candidate, clairvoyant, "data_drift", N_TIMES)
    (row,) = found.gates
    gain = (found.baseline_loss - found.champion_loss).mean()
    assert (row.gate, row.comparison) == ("champion.non_inferior", "<")
    assert row.limit == pytest.approx(max(0.01, 0.02 * gain))
    difference = found.challenger_loss - found.champion_loss
    assert row.value > difference.mean()  # an upper bound of the mean
    assert not row.passed


def test_the_unforced_value_is_the_bootstrap_probability_of_being_worse(candidate, biased):
    found = challenge(candidate, biased, "", N_TIMES)
    horizon = candidate.recipe.horizon_bars
    difference = found.challenger_loss - found.champion_loss
    again = compare_losses(difference, seed=candidate.recipe.wanted.seed, least_block=horizon)
    assert found.gates[0].value == again.p_worse


@pytest.mark.parametrize(
    ("trigger", "gate"), [("", "champion.better"), ("performance", "champion.non_inferior")]
)
def test_a_champion_that_has_seen_the_window_is_no_evidence(
    candidate, register, earlier, window, trigger, gate
):
    first = np.datetime64(int(window.t0.min()), "us").astype(object)
    champion = register(earlier, trained_until=f"{first.isoformat()}+00:00")
    (row,) = challenge(candidate, champion, trigger, N_TIMES).gates
    assert (row.gate, row.value, row.passed) == (gate, None, False)
    assert f"the champion was trained until {first:%Y-%m-%d}, inside the window" in row.note
    lines = refusals([row], "serve", "volatility_forecast", champion.number)
    assert any(line.startswith(gate) for line in lines)


def test_a_window_longer_than_the_history_is_refused(candidate, biased):
    with pytest.raises(TooLittleHistoryError, match="lower challenge_bars or read more bars"):
        challenge(candidate, biased, "", 100_000)


@pytest.mark.parametrize("n_times", [0, 9])
def test_a_window_shorter_than_a_bootstrap_needs_is_refused(candidate, biased, n_times):
    with pytest.raises(ParameterError, match=f"challenge_bars={n_times}: expected at least 10"):
        challenge(candidate, biased, "", n_times)


def test_the_table_for_the_picture_has_one_row_per_time(candidate, equal):
    table = challenge(candidate, equal, "", N_TIMES).table()
    assert table.columns == ["timestamp", "champion", "challenger", "baseline"]
    assert len(table) == N_TIMES
    assert table["timestamp"].is_sorted()
