import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from pipelines.architectures.spaces import CLUSTERINGS
from pipelines.architectures.torch_nets import clusters
from registry.errors import FitError


def blobs(centres, n=600, deviation=0.15, seed=0):
    """Points that visit the centres in turn, 20 at a time, and where each was drawn."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) // 20 % len(centres)
    return np.asarray(centres)[truth] + deviation * rng.standard_normal((n, 2)), truth


TWO = [(-1.0, -1.0), (1.0, 1.0)]
THREE = [(-1.2, 0.0), (1.2, 0.0), (0.0, 1.5)]


@pytest.mark.parametrize("method", CLUSTERINGS)
@pytest.mark.parametrize("centres", [TWO, THREE])
def test_finds_the_blobs_and_orders_them_by_variance(method, centres):
    points, truth = blobs(centres)
    n_states = len(centres) + (method == "dbscan")
    deviation = np.array([0.03, 0.01, 0.02])[truth]
    y = deviation * np.random.default_rng(1).standard_normal(len(points))
    found = clusters.find("x", method, points, np.ones(len(points)), n_states, 0)
    found = clusters.by_variance(found, points, y, np.ones(len(points)))
    assert found.n_states == n_states
    order = np.argsort([0.03, 0.01, 0.02][: len(centres)])
    state_of = np.argsort(order)[truth]
    labels = found.log_weights(points).argmax(axis=1)
    if method == "dbscan":  # the state of noise has hardly any point: its place is not known
        labels = np.where(labels == found.noise, -1, labels - (labels > found.noise))
    assert np.mean(labels == state_of) > 0.97


def test_kmeans_weights_are_the_posterior_of_a_spherical_mixture():
    points, _ = blobs(TWO, deviation=0.6)
    found = clusters.find("x", "kmeans", points, np.ones(len(points)), 2, 0)
    oracle = GaussianMixture(2, covariance_type="spherical")
    oracle.means_ = found.centres
    oracle.covariances_ = np.full(2, found.variance)
    oracle.precisions_cholesky_ = 1 / np.sqrt(oracle.covariances_)
    oracle.weights_ = np.exp(found.offset) / np.exp(found.offset).sum()
    weights = np.exp(found.log_weights(points))
    np.testing.assert_allclose(
        weights / weights.sum(axis=1, keepdims=True), oracle.predict_proba(points), atol=1e-9
    )


def test_a_point_far_from_every_core_point_is_noise_and_one_at_eps_is_undecided():
    points, _ = blobs([(0.0, 0.0)])
    found = clusters.find("x", "dbscan", points, np.ones(len(points)), 2, 0)
    weights = found.log_weights(np.array([[0.0, 0.0], [5.0, 5.0]]))
    assert weights.argmax(axis=1).tolist() == [0, found.noise]
    farthest = found.centres[found.centres[:, 0].argmax()]
    eps = np.sqrt(-2 * found.variance * found.noise_log_weight)
    edge = found.log_weights((farthest + np.array([eps, 0.0]))[None])[0]
    assert edge[0] == pytest.approx(edge[1], rel=1e-6)


@pytest.mark.parametrize(("centres", "n_states"), [(TWO, 2), (THREE, 3)])
def test_the_number_of_states_is_that_of_the_blobs(centres, n_states):
    points, _ = blobs(centres)
    weight = np.ones(len(points))
    assert clusters.choose_n_states("kmeans", points, weight, 0) == n_states
    assert clusters.choose_n_states("dbscan", points, weight, 0) == n_states + 1


def test_real_clusters_are_stable_over_time_and_pieces_of_one_are_not():
    weight = np.ones(600)
    assert clusters._stability(blobs(THREE)[0], weight, 3, 0) > 0.95
    assert clusters._stability(blobs([(0.0, 0.0)])[0], weight, 5, 0) < clusters.STABLE


def test_too_few_dense_clusters_are_an_error_that_says_how_many_there_are():
    points, _ = blobs(TWO)
    with pytest.raises(FitError, match="finds 2 dense clusters, n_states=6 needs 5"):
        clusters.find("x", "dbscan", points, np.ones(len(points)), 6, 0)


def test_fewer_points_than_states_are_an_error():
    with pytest.raises(FitError, match="3 points for 4 states"):
        clusters.find("x", "kmeans", np.zeros((3, 2)), np.ones(3), 4, 0)


def test_weights_move_the_centres():
    points = np.repeat([[0.0], [1.0], [10.0], [11.0]], 5, axis=0)
    weight = np.repeat([1.0, 3.0, 1.0, 1.0], 5)
    found = clusters.find("x", "kmeans", points, weight, 2, 0)
    np.testing.assert_allclose(np.sort(found.centres[:, 0]), [0.75, 10.5])
