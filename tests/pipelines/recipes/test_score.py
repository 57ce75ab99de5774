"""Score: a registered version's loss is the template's loss of what its booster answers."""

import numpy as np
import pytest

from pipelines.recipes.recipe import newest
from pipelines.recipes.score import per_time, score


@pytest.mark.integration
def test_the_loss_of_a_version_is_that_of_its_booster_and_the_ewma(candidate, version_files):
    import xgboost

    window = newest(candidate.dataset.rows, 60)
    payload = version_files.read("native/model.ubj")
    booster = xgboost.Booster(model_file=bytearray(payload))
    margin = booster.predict(xgboost.DMatrix(window.X), output_margin=True).astype(np.float64)
    forecast = np.exp(margin) * window.context["ewma_variance"]
    expected = np.log(forecast) + window.y / forecast
    found = score(version_files, candidate.dataset.data, window)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.integration
def test_rows_that_a_version_cannot_answer_are_nan(candidate, version_files):
    bars, window = candidate.dataset.data, newest(candidate.dataset.rows, 60)
    first = int(candidate.dataset.rows.t0[0])  # the features of the first bars are not known
    n_warm_up = int((bars.frame["timestamp"].unique().to_physical() < first).sum())
    times = bars.frame["timestamp"].unique().sort()
    found = score(version_files, bars.between(times[-(n_warm_up + 40)], None), window)
    answered = np.isfinite(found)
    np.testing.assert_array_equal(answered, window.t0 >= int(times[-40].timestamp() * 1e6))
    assert 0 < answered.sum() < len(window)


@pytest.mark.integration
def test_scores_come_in_the_order_of_the_rows_asked_for(candidate, version_files):
    window = newest(candidate.dataset.rows, 30)
    shuffled = np.random.default_rng(0).permutation(len(window))
    found = score(version_files, candidate.dataset.data, window)
    again = score(version_files, candidate.dataset.data, window.take(shuffled))
    np.testing.assert_array_equal(again, found[shuffled])


class Rows:
    """What `per_time` reads of rows."""

    def __init__(self, t0) -> None:
        self.t0 = np.asarray(t0)


def test_losses_are_averaged_over_the_symbols_of_each_time():
    times, means = per_time(Rows([1, 1, 2, 3]), np.array([1.0, 3.0, 5.0, 7.0]), np.arange(4.0))
    np.testing.assert_array_equal(times, [1, 2, 3])
    np.testing.assert_array_equal(means, [[2.0, 5.0, 7.0], [0.5, 2.0, 3.0]])


def test_a_row_that_one_loss_lacks_is_left_out_of_all():
    ours, theirs = np.array([1.0, 3.0, 5.0]), np.array([np.nan, 4.0, 6.0])
    times, means = per_time(Rows([1, 1, 2]), ours, theirs)
    np.testing.assert_array_equal(times, [1, 2])
    np.testing.assert_array_equal(means, [[3.0, 5.0], [4.0, 6.0]])


def test_a_time_without_any_complete_row_is_left_out():
    times, _ = per_time(Rows([1, 2]), np.array([np.inf, 1.0]), np.zeros(2))
    np.testing.assert_array_equal(times, [2])
