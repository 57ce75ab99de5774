import numpy as np
import pytest
from sklearn.cluster import DBSCAN as LIBRARY_DBSCAN

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.clustering import DBSCAN, KMEANS
from registry.errors import FitError, ParameterError

STATES = Objective("states", 0)
ONE = {"nthread": 1}


def blobs(n=450, seed=0, spread=0.3):
    """Three blobs; y is widest in the first, calmest in the last."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    centre = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    X = centre[label] + spread * rng.standard_normal((n, 2))
    y = rng.standard_normal(n) * np.array([0.03, 0.02, 0.01])[label]
    return TrainingRows(X.astype(np.float32), y, np.ones(n)), label


@pytest.mark.parametrize(("architecture", "n_states"), [(KMEANS, 3), (DBSCAN, 4)])
def test_blobs_are_states_in_order_of_rising_variance(architecture, n_states):
    data, label = blobs()
    estimator = architecture.fit(data, STATES, ONE | {"n_states": n_states}, 0)
    found = estimator.predict(data.X).argmax(axis=1)
    names = {k: np.bincount(found[label == k]).argmax() for k in range(3)}
    assert names[2] < names[1] < names[0]
    assert np.mean(found == np.vectorize(names.get)(label)) > 0.95


@pytest.mark.parametrize(("architecture", "expected"), [(KMEANS, 3), (DBSCAN, 4)])
def test_the_number_of_states_is_chosen_from_the_rows(architecture, expected):
    data, _ = blobs()
    chosen = architecture.choose(data, STATES, ONE, 0)
    assert chosen == {"n_states": expected, "nthread": 1}
    assert architecture.fit(data, STATES, ONE, 0).n_scores == expected


def test_what_lies_far_from_every_cluster_is_a_state_of_its_own():
    data, _ = blobs()
    estimator = DBSCAN.fit(data, STATES, ONE | {"n_states": 4}, 0)
    far = estimator.predict(np.float32([[30.0, 30.0], [-20.0, 5.0]])).argmax(axis=1)
    assert len(set(far)) == 1
    assert far[0] not in estimator.predict(np.float32([[0, 0], [6, 0], [0, 6]])).argmax(axis=1)


def test_dbscan_tells_members_from_noise_as_scikit_learn_does():
    data, _ = blobs(400)
    estimator = DBSCAN.fit(data, STATES, ONE | {"n_states": 4}, 0)
    model = estimator.model
    # the score of the outside is that of a point at distance eps from a core point
    eps = np.sqrt(-float(model.far_level[0]) / float(model.sharpness[0]))
    library = LIBRARY_DBSCAN(eps=eps, min_samples=10).fit(model.preprocessing(data.X))
    is_noise = estimator.predict(data.X).argmax(axis=1) == model.far[0]
    assert (is_noise == (library.labels_ == -1)).mean() > 0.99


def test_a_missing_value_counts_as_the_mean():
    data, _ = blobs()
    estimator = KMEANS.fit(data, STATES, ONE | {"n_states": 3}, 0)
    mean = data.X.astype(float).mean(axis=0).astype(np.float32)
    missing = np.float32([[np.nan, 6.0]])
    np.testing.assert_allclose(
        estimator.predict(missing), estimator.predict(np.float32([[mean[0], 6.0]])), rtol=1e-5
    )


def test_one_state_and_more_than_the_rows_bear_are_refused():
    data, _ = blobs()
    with pytest.raises(ParameterError, match="n_states=1: expected 0"):
        KMEANS.fit(data, STATES, {"n_states": 1}, 0)
    with pytest.raises(FitError, match="dbscan finds"):
        DBSCAN.fit(data, STATES, {"n_states": 6}, 0)
