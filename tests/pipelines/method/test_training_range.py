"""Robust distance of inputs from the training rows."""

import numpy as np
import pytest

from pipelines.method.training_range import distance, fit_range


@pytest.fixture
def training():
    return np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32) * [1, 10, 0.1]


def test_about_one_training_row_in_a_thousand_lies_outside(training):
    arrays = fit_range(training)
    outside = distance(training, arrays).score > arrays["limit"][0]
    assert outside.mean() == pytest.approx(0.001, abs=2e-4)


def test_score_of_normal_data_is_in_standard_deviations(training):
    found = distance(np.array([[0.0, 60.0, 0.0]], dtype=np.float32), fit_range(training))
    assert found.score[0] == pytest.approx(6.0, rel=0.03)
    assert found.feature[0] == 1


def test_a_constant_feature_never_decides(training):
    training[:, 2] = 5.0
    found = distance(np.array([[0.0, 0.0, 9.0]], dtype=np.float32), fit_range(training))
    assert found.feature[0] != 2
    assert np.isfinite(found.score[0])


def test_a_feature_that_is_mostly_one_value_falls_back_to_its_deviation(training):
    training[:, 2] = 0.0
    training[:100, 2] = 1.0
    assert fit_range(training)["spread"][2] == pytest.approx(training[:, 2].std(), rel=1e-5)
