"""Linear models against the solution of their normal equations and scikit-learn's own fits."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.linear import ELASTIC_NET, LASSO, LOGISTIC, RIDGE
from registry.errors import FitError

SQUARED, CLASSES = Objective("squared"), Objective("softmax", 3)


def rows(n=500, seed=0, classes=0):
    rng = np.random.default_rng(seed)
    X = (5.0 + rng.standard_normal((n, 4)) * [1.0, 10.0, 0.1, 1.0]).astype(np.float32)
    signal = X[:, 0] - 0.1 * X[:, 1]
    y = 0.02 + 0.01 * (signal + rng.standard_normal(n))
    if classes:
        y = np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes)).astype(float)
    return TrainingRows(X, y, rng.uniform(0.5, 1.5, n))


def standardised(data):
    X, w = data.X.astype(np.float64), data.weight[:, None]
    mean = (X * w).sum(axis=0) / w.sum()
    return (X - mean) / np.sqrt((w * (X - mean) ** 2).sum(axis=0) / w.sum())


def test_ridge_solves_its_normal_equations():
    data = rows()
    z, w = standardised(data), np.diag(data.weight)
    mean = np.average(data.y, weights=data.weight)
    penalty = 0.1 * data.weight.sum() * np.eye(4)
    solution = np.linalg.solve(z.T @ w @ z + penalty, z.T @ w @ (data.y - mean))
    found = RIDGE.fit(data, SQUARED, {"alpha": 0.1}, 0).predict(data.X)[:, 0]
    np.testing.assert_allclose(found, mean + z @ solution, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "library", "given"),
    [
        (LASSO, Lasso(0.05, tol=1e-8), {"alpha": 0.05}),
        (ELASTIC_NET, ElasticNet(0.05, l1_ratio=0.3, tol=1e-8), {"alpha": 0.05, "l1_ratio": 0.3}),
    ],
)
def test_penalties_are_scikit_learns_for_a_target_of_deviation_one(architecture, library, given):
    data = rows()
    scale = np.sqrt(np.cov(data.y, aweights=data.weight, ddof=0))
    library.fit(standardised(data), data.y / scale, sample_weight=data.weight)
    found = architecture.fit(data, SQUARED, given, 0).predict(data.X)[:, 0]
    np.testing.assert_allclose(found, scale * library.predict(standardised(data)), rtol=1e-4)


def test_one_alpha_means_the_same_for_returns_and_for_prices():
    data = rows()
    dear = TrainingRows(data.X, 1e4 * data.y, data.weight)
    cheap_scores, dear_scores = (LASSO.fit(d, SQUARED, {}, 0).predict(data.X) for d in (data, dear))
    np.testing.assert_allclose(dear_scores, 1e4 * cheap_scores, rtol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_gives_logits_of_scikit_learns_probabilities(n_classes):
    data = rows(classes=n_classes)
    library = LogisticRegression(C=1 / (0.01 * data.weight.sum()), tol=1e-8, max_iter=5000)
    library.fit(standardised(data), data.y, sample_weight=data.weight)
    scores = LOGISTIC.fit(data, Objective("softmax", n_classes), {"alpha": 0.01}, 0).predict(data.X)
    expected = library.predict_proba(standardised(data))
    np.testing.assert_allclose(softmax(scores.astype(float), axis=1), expected, atol=1e-4)


def test_a_class_without_rows_is_rare_and_one_class_alone_is_refused():
    data = rows(classes=2)
    scores = LOGISTIC.fit(data, CLASSES, {}, 0).predict(data.X)
    assert softmax(scores.astype(float), axis=1)[:, 2].mean() < 0.01
    alone = TrainingRows(data.X, np.ones(len(data.y)), data.weight)
    with pytest.raises(FitError, match=r"every row is of class 1; give rows of at least two"):
        LOGISTIC.fit(alone, CLASSES, {}, 0)


def test_a_missing_value_is_the_weighted_training_mean():
    data = rows()
    holes = data.X.copy()
    holes[::3, 1] = np.nan
    estimator = RIDGE.fit(TrainingRows(holes, data.y, data.weight), SQUARED, {}, 0)
    known = np.average(
        np.delete(data.X[:, 1], np.s_[::3]), weights=np.delete(data.weight, np.s_[::3])
    )
    filled = holes.copy()
    filled[::3, 1] = known
    np.testing.assert_allclose(estimator.predict(holes), estimator.predict(filled), rtol=1e-5)


def test_idf_weighs_words_and_brings_rows_to_unit_length_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.4, (300, 12)).astype(np.float32)
    y = (counts[:, 0] > counts[:, 1]).astype(float)
    data = TrainingRows(counts, y, np.ones(300))
    scores = LOGISTIC.fit(data, Objective("softmax", 2), {"scaling": "idf"}, 0).predict(counts)
    words = TfidfTransformer().fit_transform(counts).toarray()
    library = LogisticRegression(C=1 / 0.3, tol=1e-8, max_iter=5000).fit(words, y)
    expected = library.predict_proba(words)
    np.testing.assert_allclose(softmax(scores.astype(float), axis=1), expected, atol=1e-4)


def test_a_row_without_any_word_gets_the_intercept():
    counts = np.random.default_rng(0).poisson(1.0, (200, 3)).astype(np.float32)
    y = (counts[:, 0] > 1).astype(float)
    data = TrainingRows(counts, y, np.ones(200))
    estimator = LOGISTIC.fit(data, Objective("softmax", 2), {"scaling": "idf"}, 0)
    np.testing.assert_array_equal(
        estimator.predict(np.zeros((1, 3), np.float32))[0], estimator.model.bias
    )


def test_no_convergence_is_an_error_that_says_what_to_do():
    with pytest.raises(FitError, match=r"no convergence within 1 steps; raise alpha, tol or max"):
        LASSO.fit(rows(), SQUARED, {"max_iter": 1, "tol": 1e-12, "alpha": 1e-9}, 0)


def test_a_constant_target_is_forecast_as_it_is():
    data = TrainingRows(rows().X, np.full(500, 0.25), np.ones(500))
    np.testing.assert_allclose(RIDGE.fit(data, SQUARED, {}, 0).predict(data.X), 0.25)
