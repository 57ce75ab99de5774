"""Forests read out of scikit-learn's objects against scikit-learn's own predictions."""

import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.ensembles import GRADIENT_BOOSTING, RANDOM_FOREST
from pipelines.architectures.isolation_forest import ISOLATION_FOREST, average_path
from registry.errors import FitError

FOREST = {"n_estimators": 20, "nthread": 1}
BOOSTING = {"rounds": 20, "nthread": 1}


def rows(loss="squared", n=600, n_classes=3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    signal = np.nan_to_num(X[:, 0])
    y = {
        "squared": signal + rng.standard_normal(n),
        "gamma": rng.gamma(4.0, 0.25, n) * np.exp(signal),
        "softmax": np.digitize(signal, np.linspace(-0.5, 0.5, n_classes - 1)).astype(float),
    }[loss]
    return TrainingRows(X, y, rng.uniform(0.5, 1.5, n))


def test_a_random_forest_forecasts_what_scikit_learns_does():
    data = rows()
    settings = {"max_depth": 8, "min_samples_leaf": 20, "max_features": 0.5, "max_samples": 0.7}
    library = RandomForestRegressor(20, random_state=3, **settings)
    library.fit(data.X, data.y, sample_weight=data.weight)
    found = RANDOM_FOREST.fit(data, Objective("squared"), FOREST, 3).predict(data.X)[:, 0]
    np.testing.assert_allclose(found, library.predict(data.X), rtol=1e-5, atol=1e-6)


def test_frequencies_count_one_further_row_per_leaf():
    data = rows("softmax")
    settings = {"max_depth": 8, "min_samples_leaf": 20, "max_features": 0.5, "max_samples": 0.7}
    library = RandomForestClassifier(20, random_state=3, **settings)
    library.fit(data.X, data.y, sample_weight=data.weight)
    counts = np.bincount(data.y.astype(int), data.weight) + 1 / 3
    prior, shares = counts / counts.sum(), []
    for member in library.estimators_:
        leaf, tree = member.apply(data.X), member.tree_
        mass = tree.weighted_n_node_samples[leaf][:, None]
        shares.append((tree.value[leaf, 0] * mass + prior) / (mass + 1))
    found = RANDOM_FOREST.fit(data, Objective("softmax", 3), FOREST, 3).predict(data.X)
    np.testing.assert_allclose(np.exp(found), np.mean(shares, axis=0), rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "gamma"])
def test_gradient_boosting_gives_the_margins_of_scikit_learn(loss):
    data = rows(loss)
    library = HistGradientBoostingRegressor(
        loss="squared_error" if loss == "squared" else "gamma",
        max_iter=20,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        l2_regularization=1.0,
        max_features=0.7,
        early_stopping=False,
        random_state=3,
    ).fit(data.X, data.y, sample_weight=data.weight)
    forecast = library.predict(data.X)
    found = GRADIENT_BOOSTING.fit(data, Objective(loss), BOOSTING, 3).predict(data.X)[:, 0]
    expected = np.log(forecast) if loss == "gamma" else forecast
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradient_boosting_gives_logits_of_scikit_learns_probabilities(n_classes):
    data = rows("softmax", n_classes=n_classes)
    library = HistGradientBoostingClassifier(
        max_iter=20,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        l2_regularization=1.0,
        max_features=0.7,
        early_stopping=False,
        random_state=3,
    ).fit(data.X, data.y, sample_weight=data.weight)
    objective = Objective("softmax", n_classes)
    scores = GRADIENT_BOOSTING.fit(data, objective, BOOSTING, 3).predict(data.X).astype(float)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, library.predict_proba(data.X), atol=1e-5)


@pytest.mark.parametrize("architecture", [RANDOM_FOREST, GRADIENT_BOOSTING])
def test_a_class_without_rows_stays_possible_and_rare(architecture):
    data = rows("softmax", n_classes=2)
    given = FOREST if architecture is RANDOM_FOREST else BOOSTING
    scores = architecture.fit(data, Objective("softmax", 3), given, 0).predict(data.X).astype(float)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert 0 < shares[:, 2].max() < 0.02


def test_one_class_alone_is_refused():
    data = rows("softmax")
    alone = TrainingRows(data.X, np.ones(600), data.weight)
    with pytest.raises(FitError, match="gradient_boosting cannot be fitted"):
        GRADIENT_BOOSTING.fit(alone, Objective("softmax", 3), BOOSTING, 0)


def test_isolation_scores_are_scikit_learns():
    X = np.random.default_rng(0).standard_normal((600, 4)).astype(np.float32)
    data = TrainingRows(X, np.zeros(600), np.ones(600))
    library = IsolationForest(n_estimators=50, max_samples=256, random_state=3).fit(X)
    given = {"n_estimators": 50, "nthread": 1}
    found = ISOLATION_FOREST.fit(data, Objective("novelty"), given, 3).predict(X)[:, 0]
    np.testing.assert_allclose(found, -library.score_samples(X), rtol=1e-5)


def test_a_missing_value_counts_as_the_mean():
    X = np.random.default_rng(0).standard_normal((600, 4)).astype(np.float32)
    X[::7, 2] = np.nan
    data = TrainingRows(X, np.zeros(600), np.ones(600))
    estimator = ISOLATION_FOREST.fit(data, Objective("novelty"), {"n_estimators": 20}, 3)
    filled = np.where(np.isnan(X), np.nanmean(X.astype(float), axis=0).astype(np.float32), X)
    np.testing.assert_array_equal(estimator.predict(X), estimator.predict(filled))


def test_rows_of_small_weight_are_unusual_ones():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(8, 1, (300, 2))]).astype(np.float32)
    weight = np.repeat([2 - 1e-4, 1e-4], 300)
    data = TrainingRows(X, np.zeros(600), weight)
    scores = ISOLATION_FOREST.fit(data, Objective("novelty"), {}, 3).predict(X)[:, 0]
    assert scores[300:].min() > np.quantile(scores[:300], 0.9)


def test_the_expected_path_is_that_of_the_paper():
    harmonic = [sum(1 / k for k in range(1, n)) for n in (256, 1000)]
    expected = [2 * h - 2 * (n - 1) / n for h, n in zip(harmonic, (256, 1000), strict=True)]
    np.testing.assert_allclose(average_path(np.array([256, 1000])), expected, rtol=1e-3)
    assert average_path(np.array([1, 2])).tolist() == [0.0, 1.0]
