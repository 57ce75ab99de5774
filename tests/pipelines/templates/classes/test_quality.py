import numpy as np
import pytest
from sklearn.metrics import log_loss as oracle_log_loss
from sklearn.metrics import mean_squared_error, precision_recall_fscore_support, r2_score
from sklearn.metrics import roc_auc_score as oracle_auc

from pipelines.method.metrics import area_under_curve
from pipelines.templates.classes.quality import judge_classes, judge_numbers
from tests.examples import make_labelled_rows

N = 500


def rows(y):
    return make_labelled_rows(len(y), y=y, context={"scale": np.full(len(y), 2.0)})


@pytest.fixture
def forecast():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N).astype(float)
    logits = rng.normal(size=(N, 3)) + 1.5 * np.eye(3)[y.astype(int)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities, np.full((N, 3), 1 / 3)


def test_class_metrics_equal_scikit_learns(forecast):
    y, p, prior = forecast
    found = judge_classes(rows(y), p, prior, ("a", "b", "c"), 0)
    assert found.metrics["log_loss"] == pytest.approx(oracle_log_loss(y, p))
    assert found.metrics["log_loss_prior"] == pytest.approx(np.log(3))
    table = found.tables["per_class"]
    precision, recall, f1, _ = precision_recall_fscore_support(y, p.argmax(axis=1))
    np.testing.assert_allclose(table["precision"], precision)
    np.testing.assert_allclose(table["recall"], recall)
    np.testing.assert_allclose(table["f1"], f1)
    expected = [oracle_auc(y == k, p[:, k]) for k in range(3)]
    np.testing.assert_allclose(table["auc"], expected)
    assert found.metrics["auc"] == pytest.approx(oracle_auc(y, p, multi_class="ovr"))
    assert found.gates[0].passed


def test_the_prior_itself_has_no_skill(forecast):
    y, _, prior = forecast
    gate, excess = judge_classes(rows(y), prior, prior, ("a", "b", "c"), 0).gates
    assert gate.value is None and not gate.passed
    assert excess.value == 0


def test_a_class_that_never_comes_has_no_recall_and_breaks_nothing():
    y = np.zeros(N)
    y[::2] = 1
    p = np.tile([0.3, 0.6, 0.1], (N, 1))
    table = judge_classes(rows(y), p, p[:, ::-1], ("a", "b", "c"), 0).tables["per_class"]
    assert table["recall"].to_list() == [0.0, 1.0, None]
    assert table["auc"].to_list()[2] is None


def test_ties_count_a_half_in_the_area_under_the_curve():
    score, is_class = np.array([1.0, 1, 2, 2, 3]), np.array([0, 1, 0, 1, 1], dtype=bool)
    assert area_under_curve(score, is_class) == pytest.approx(oracle_auc(is_class, score))


def test_number_metrics_equal_scikit_learns():
    rng = np.random.default_rng(1)
    y = rng.normal(size=N)
    forecast, mean = y + 0.5 * rng.normal(size=N), np.full(N, y.mean())
    bounds = (forecast - 1, forecast + 1)
    found = judge_numbers(rows(y), forecast, mean, bounds, 0.9, 0)
    assert found.metrics["rmse"] == pytest.approx(mean_squared_error(y, forecast) ** 0.5)
    assert found.metrics["r2_oos"] == pytest.approx(r2_score(y, forecast))
    assert found.metrics["interval_coverage"] == pytest.approx((np.abs(y - forecast) <= 1).mean())
    assert found.gates[0].passed


def test_no_interval_gives_no_coverage():
    y = np.arange(float(N))
    unknown = np.full(N, np.nan)
    found = judge_numbers(rows(y), y[::-1], y * 0, (unknown, unknown), 0.9, 0)
    assert "interval_coverage" not in found.metrics
