import numpy as np
import pytest
import torch

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.autoencoder import AUTOENCODER, LSTM_AUTOENCODER, LatentScale
from registry.errors import ParameterError, ShapeError, ValueRangeError

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import

SHORT = {"epochs": 5, "hidden": 8, "latent": 2, "batch_size": 64}
BOTH = [AUTOENCODER, LSTM_AUTOENCODER]
STATES, NOVELTY = Objective("states", 0), Objective("novelty")


def rows(architecture, n=600, seed=0):
    """Two regimes that take turns; inputs lie on a line, returns are wider in the second."""
    rng = np.random.default_rng(seed)
    is_wild = np.arange(n) // 50 % 2
    level = np.where(is_wild, 1.0, -1.0) + 0.2 * rng.standard_normal(n)
    direction = np.array([1.0, -0.5, 2.0, 0.3])
    shape = (n, 1) if architecture.default_window == 1 else (n, 5, 1)
    X = level.reshape((n, *[1] * (len(shape) - 1))) * direction + 0.05 * rng.standard_normal(
        (*shape[:-1], 4)
    )
    y = np.where(is_wild, 0.03, 0.01) * rng.standard_normal(n)
    return TrainingRows(X.astype(np.float32), y, np.ones(n)), is_wild


@pytest.mark.parametrize("architecture", BOTH)
def test_an_input_off_the_pattern_is_more_unusual_than_one_on_it(architecture):
    data, _ = rows(architecture)
    estimator = architecture.fit(data, NOVELTY, SHORT, 0)
    broken = data.X.copy()
    broken[..., 0] *= -1  # every feature within its range, but not together
    usual, unusual = estimator.predict(data.X), estimator.predict(broken)
    assert usual.shape == (len(data.X), 1)
    assert np.mean(unusual > usual) > 0.95


@pytest.mark.parametrize("architecture", BOTH)
def test_the_score_is_the_log_of_the_mean_squared_error(architecture):
    data, _ = rows(architecture)
    estimator = architecture.fit(data, NOVELTY, SHORT, 0)
    network = estimator._module
    with torch.inference_mode():
        z = network.scaling(torch.from_numpy(data.X[:7]))
        rebuilt = network.coder.decoder(network.coder.encoder(z)).numpy()
    error = ((z.numpy() - rebuilt) ** 2).reshape(7, -1).mean(axis=1)
    np.testing.assert_allclose(estimator.predict(data.X[:7])[:, 0], np.log(error), rtol=1e-3)


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("clustering", ["kmeans", "dbscan"])
def test_finds_the_two_regimes_calm_first(architecture, clustering):
    data, is_wild = rows(architecture)
    chosen = architecture.choose(data, STATES, SHORT | {"clustering": clustering}, 0)
    estimator = architecture.fit(data, STATES, chosen, 0)
    assert estimator.n_scores == chosen["n_states"] == (3 if clustering == "dbscan" else 2)
    labels = estimator.predict(data.X).argmax(axis=1)
    mean_state = [labels[is_wild == k].mean() for k in (0, 1)]
    assert mean_state[1] - mean_state[0] > 0.8


def test_the_order_of_states_comes_from_y_alone():
    data, _ = rows(AUTOENCODER)
    mirrored = TrainingRows(data.X, np.roll(data.y, 50), data.weight)
    labels = [
        AUTOENCODER.fit(d, STATES, SHORT | {"n_states": 2}, 0).predict(d.X).argmax(axis=1)
        for d in (data, mirrored)
    ]
    assert np.mean(labels[0] == 1 - labels[1]) > 0.99


def test_fitting_without_a_number_of_states_takes_the_one_that_is_chosen():
    data, _ = rows(AUTOENCODER)
    chosen = AUTOENCODER.choose(data, STATES, SHORT, 0)
    left_open = AUTOENCODER.fit(data, STATES, SHORT, 0)
    decided = AUTOENCODER.fit(data, STATES, chosen, 0)
    np.testing.assert_array_equal(left_open.predict(data.X), decided.predict(data.X))


def test_a_number_that_is_given_is_kept():
    data, _ = rows(AUTOENCODER)
    assert AUTOENCODER.choose(data, STATES, SHORT | {"n_states": 4}, 0)["n_states"] == 4
    assert AUTOENCODER.fit(data, Objective("states", 3), SHORT, 0).n_scores == 3


def test_one_state_and_parameters_of_states_for_novelty_are_refused():
    data, _ = rows(AUTOENCODER)
    with pytest.raises(ParameterError, match="n_states=1: expected 0 .* or at least 2"):
        AUTOENCODER.fit(data, STATES, {"n_states": 1}, 0)
    with pytest.raises(ParameterError, match="clustering='kmeans': expected one of"):
        AUTOENCODER.fit(data, NOVELTY, {"clustering": "kmeans"}, 0)


def test_windows_for_rows_and_the_reverse_are_refused():
    flat, windows = rows(AUTOENCODER)[0], rows(LSTM_AUTOENCODER)[0]
    with pytest.raises(ShapeError, match="autoencoder rows.*window=1"):
        AUTOENCODER.fit(windows, NOVELTY, SHORT, 0)
    with pytest.raises(ShapeError, match="lstm_autoencoder rows.*window of at least 2"):
        LSTM_AUTOENCODER.fit(flat, NOVELTY, SHORT, 0)


def test_a_missing_value_is_refused():
    data, _ = rows(AUTOENCODER)
    data.X[3, 0] = np.nan
    with pytest.raises(ValueRangeError, match="a network has no rule for a missing value"):
        AUTOENCODER.fit(data, NOVELTY, SHORT, 0)


def test_a_latent_coordinate_that_never_moves_keeps_its_scale():
    latent = np.column_stack([np.arange(10.0), np.full(10, 3.0)])
    scale = LatentScale.of(latent)
    assert scale.inverse_scale[1] == 1.0
    np.testing.assert_allclose(scale.apply(latent).std(axis=0), [1.0, 0.0])
