"""Calibrators against scikit-learn and SciPy, and the rule that keeps or drops them."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from pipelines.method import calibration
from pipelines.method.metrics import log_loss


def draw(n, sharpness, seed=0):
    """Logits `sharpness` times too large for the classes drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, 3))
    p = calibration.softmax(logits)
    classes = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).astype(float)
    return (sharpness * logits).astype(np.float32), classes


def test_temperature_minimises_log_loss_as_scipy_does():
    scores, classes = draw(4000, 3.0)

    def loss(temperature):
        return log_loss(calibration.softmax(scores / temperature), classes).mean()

    expected = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
    found = calibration.fit_temperature(scores, classes).arrays["temperature"][0]
    assert found == pytest.approx(expected, rel=1e-4)
    assert found == pytest.approx(3.0, rel=0.1)


def test_isotonic_equals_sklearn():
    rng = np.random.default_rng(1)
    values, weight = rng.random(300) + np.linspace(0, 1, 300), rng.integers(1, 9, 300).astype(float)
    oracle = IsotonicRegression().fit_transform(np.arange(300), values, sample_weight=weight)
    np.testing.assert_allclose(calibration.isotonic(values, weight), oracle, rtol=1e-12)


def test_calibrated_probabilities_sum_to_one_and_are_never_zero():
    scores, classes = draw(2000, 3.0)
    for fit in calibration.FITS:
        p = fit(scores, classes).apply(100 * scores)
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    assert (calibration.fit_isotonic(scores, classes).apply(100 * scores) > 0).all()


def test_overconfident_scores_earn_a_calibrator_that_lowers_the_loss_later():
    scores, classes = draw(6000, 3.0)
    chosen = calibration.choose(scores, classes, np.repeat([0, 1, 2], 2000))
    later, came = draw(4000, 3.0, seed=9)
    before = log_loss(calibration.Calibrator().apply(later), came).mean()
    assert chosen.calibrator.method == "temperature"
    assert log_loss(chosen.calibrator.apply(later), came).mean() < before - 0.1
    assert chosen.calibration_error < 0.03


def test_a_calibrator_that_does_not_help_the_following_fold_is_not_kept():
    early, early_classes = draw(2000, 4.0)
    late, late_classes = draw(2000, 0.5, seed=2)
    scores, classes = np.concatenate((early, late)), np.concatenate((early_classes, late_classes))
    chosen = calibration.choose(scores, classes, np.repeat([0, 1], 2000))
    assert chosen.calibrator.method == "identity"


@pytest.mark.parametrize("fold", [np.zeros(2000), np.repeat([0, 1], [1990, 10])])
def test_without_two_large_folds_nothing_can_be_compared(fold):
    scores, classes = draw(2000, 3.0)
    chosen = calibration.choose(scores, classes, fold.astype(np.int64))
    assert (chosen.calibrator.method, chosen.calibration_error) == ("identity", None)


def test_without_rows_the_identity_stays():
    chosen = calibration.choose(
        np.empty((0, 3), dtype=np.float32), np.empty(0), np.empty(0, dtype=np.int64)
    )
    assert chosen.calibrator.method == "identity"
