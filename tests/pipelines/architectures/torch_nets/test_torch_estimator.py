import numpy as np
import pytest
import torch
from torch import nn

from pipelines.architectures.torch_nets.torch_estimator import CHUNK_ROWS, TorchEstimator, threads
from registry.flavors.programs import open_program

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import


def test_importance_of_a_linear_module_is_weight_times_mean_deviation():
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, -1.0, 0.0]]))
    X = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    expected = np.array([2.0, 1.0, 0.0]) * np.abs(X - X.mean(axis=0)).mean(axis=0)
    found = TorchEstimator(module, 1, (3,)).importance(X)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)


def test_a_module_that_ignores_its_input_shares_importance_equally():
    module = nn.Linear(4, 1)
    nn.init.zeros_(module.weight)
    found = TorchEstimator(module, 1, (4,)).importance(np.ones((5, 4), np.float32))
    np.testing.assert_array_equal(found, np.full(4, 0.25))


def test_chunks_of_windows_change_nothing():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    X = np.random.default_rng(0).standard_normal((2 * CHUNK_ROWS + 7, 3, 2)).astype(np.float32)
    with torch.no_grad():
        whole = module(torch.tensor(X)).numpy()
    np.testing.assert_allclose(TorchEstimator(module, 3, (3, 2)).predict(X), whole, atol=1e-6)


def test_scores_are_those_of_the_native_program_bit_for_bit():
    module = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 2))
    X = np.random.default_rng(0).standard_normal((2 * CHUNK_ROWS + 7, 7)).astype(np.float32)
    estimator = TorchEstimator(module, 2, (7,))
    program = open_program(estimator.native().payload).module()
    with threads(1):
        native = program(torch.tensor(X)).numpy()
    np.testing.assert_array_equal(estimator.predict(X), native)
