"""Networks as ML Programs: the scores of their `.pt2` file at every batch size."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from registry.backends import BACKENDS
from registry.flavors import FLAVORS, Artifact
from registry.flavors.coreml.networks import trace
from registry.flavors.coreml.silence import silence
from tests.conformance.problems import make_problem
from tests.registry.flavors.coreml.small_models import evaluated, network, opened, written

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]
PROBLEMS = [
    ("mlp", "softmax"),
    ("rnn", "squared"),
    ("lstm", "squared"),
    ("gru", "squared"),
    ("tcn", "squared"),
    ("transformer", "squared"),
    ("autoencoder", "novelty"),
    ("autoencoder", "states"),
    ("lstm_autoencoder", "novelty"),
    ("lstm_autoencoder", "states"),
]


def native_scores(native, contract, X):
    files = FLAVORS.get("native").write(native, contract)
    return BACKENDS.get("cpu").load(Artifact("native"), files, contract)(X)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "loss"), PROBLEMS)
def test_every_network_scores_as_its_native_file_does(architecture, loss):
    problem = make_problem(architecture, loss)
    estimator = problem.fit()
    native, contract = estimator.native(), problem.contract(estimator.n_scores)
    X = np.resize(problem.test.X, (4096, *problem.test.X.shape[1:]))
    expected = native_scores(native, contract, X)
    predict = opened(native, contract)
    for n in (1, 2, 7, 4096):
        np.testing.assert_allclose(predict(X[:n]), expected[:n], rtol=1e-5, atol=1e-5)
    extreme = X[:8] * np.float32(1e3)
    extreme[2:4], extreme[4:6], extreme[6:] = 3e38, -3e38, 1e-45
    at_the_ends = native_scores(native, contract, extreme)
    np.testing.assert_allclose(predict(extreme), at_the_ends, rtol=1e-4, atol=1e-4)
    half = opened(native, contract, "fp16")
    for rows, scores in ((X[:64], expected[:64]), (extreme, at_the_ends)):
        assert np.isfinite(half(rows)).all()
        np.testing.assert_allclose(half(rows), scores, rtol=5e-3, atol=5e-3)


def test_scores_are_those_of_the_network_at_several_batch_sizes():
    native, contract = network()
    X = np.random.default_rng(0).standard_normal((2048, 2)).astype(np.float32)
    predict = evaluated(written("network"))
    for n in (1, 7, 2048):
        expected = native_scores(native, contract, X[:n])
        np.testing.assert_allclose(predict(X[:n]), expected, rtol=1e-5, atol=1e-6)


def test_a_network_is_traced_once_for_all_its_variants():
    payload = network()[0].payload
    with silence():
        assert trace(payload) is trace(payload)
    assert torch.backends.mha.get_fastpath_enabled()
