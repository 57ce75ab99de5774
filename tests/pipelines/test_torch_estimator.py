from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import GammaRegressor
from sklearn.metrics import log_loss, mean_gamma_deviance
from torch import nn

from pipelines.architectures import Objective, TrainingRows
from pipelines.torch_estimator import CHUNK_ROWS, Plan, TorchEstimator, fit, row_loss, split_in_time

PLAN = Plan(
    epochs=60,
    patience=60,
    batch_size=128,
    learning_rate=0.02,
    weight_decay=0.0,
    clip_norm=1.0,
    n_threads=1,
)


def linear(n_features=2, n_scores=1):
    module = nn.Linear(n_features, n_scores)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def gamma_rows(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2)).astype(np.float32)
    y = rng.gamma(5.0, 0.2, n) * np.exp(0.5 + 0.7 * X[:, 0] - 0.3 * X[:, 1])
    return TrainingRows(X, y, np.ones(n))


def test_a_linear_module_finds_the_gamma_regression_of_sklearn():
    rows = gamma_rows(4000)
    module = linear()
    plan = replace(PLAN, learning_rate=0.01, batch_size=512)
    fit("linear", module, rows, Objective("gamma"), plan, 0)
    used = slice(0, split_in_time(4000, PLAN).train_end)
    oracle = GammaRegressor(alpha=0.0).fit(rows.X[used], rows.y[used])
    np.testing.assert_allclose(module.weight.numpy()[0], oracle.coef_, atol=0.01)
    np.testing.assert_allclose(module.bias.numpy()[0], oracle.intercept_, atol=0.01)


def test_gamma_loss_ranks_as_half_the_gamma_deviance():
    rng = np.random.default_rng(0)
    y, s = rng.gamma(2.0, 1.0, 50), rng.standard_normal(50)
    loss = row_loss(torch.tensor(s)[:, None], torch.tensor(y), Objective("gamma")).mean()
    constant = (1 + np.log(y)).mean()
    assert 2 * (float(loss) - constant) == pytest.approx(mean_gamma_deviance(y, np.exp(s)), 1e-9)


def test_softmax_loss_is_the_log_loss_of_sklearn():
    rng = np.random.default_rng(0)
    logits, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    loss = row_loss(torch.tensor(logits), torch.tensor(y), Objective("softmax", 3)).mean()
    shares = torch.softmax(torch.tensor(logits), 1).numpy()
    assert float(loss) == pytest.approx(log_loss(y, shares, labels=[0, 1, 2]), 1e-9)


def test_validation_rows_are_the_newest_and_a_gap_lies_before_them():
    split = split_in_time(10_000, PLAN)
    assert (split.train_end, split.validation_start) == (8900, 9000)
    split = split_in_time(64, PLAN)
    assert split.train_end < split.validation_start < 64


def test_rows_of_the_gap_and_after_it_are_never_trained_on():
    rows = gamma_rows(500)
    split = split_in_time(500, PLAN)
    spoiled = rows.y.copy()
    spoiled[split.train_end : split.validation_start] = 1e6
    weights = []
    for y in (rows.y, spoiled):
        module = linear()
        plan = replace(PLAN, epochs=3)
        fit("linear", module, TrainingRows(rows.X, y, rows.weight), Objective("gamma"), plan, 0)
        weights.append(module.weight.clone())
    assert torch.equal(*weights)


def test_the_best_epoch_is_kept_when_later_ones_are_worse():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 2)).astype(np.float32)
    y = X[:, 0].astype(np.float64)
    y[split_in_time(400, PLAN).validation_start :] = 0.0  # any weight learned is worse than none
    module = linear()
    one = linear()
    fit(
        "linear",
        one,
        TrainingRows(X, y, np.ones(400)),
        Objective("squared"),
        replace(PLAN, epochs=1),
        0,
    )
    fit("linear", module, TrainingRows(X, y, np.ones(400)), Objective("squared"), PLAN, 0)
    assert torch.equal(module.weight, one.weight)


def test_importance_of_a_linear_module_is_weight_times_mean_deviation():
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, -1.0, 0.0]]))
    X = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    expected = np.array([2.0, 1.0, 0.0]) * np.abs(X - X.mean(axis=0)).mean(axis=0)
    found = TorchEstimator(module, 1, (3,)).importance(X)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)


def test_a_module_that_ignores_its_input_shares_importance_equally():
    found = TorchEstimator(linear(4), 1, (4,)).importance(np.ones((5, 4), np.float32))
    np.testing.assert_array_equal(found, np.full(4, 0.25))


def test_chunks_change_nothing():
    module = nn.Linear(2, 3)
    X = np.random.default_rng(0).standard_normal((2 * CHUNK_ROWS + 7, 2)).astype(np.float32)
    with torch.no_grad():
        whole = module(torch.tensor(X)).numpy()
    np.testing.assert_allclose(TorchEstimator(module, 3, (2,)).predict(X), whole, atol=1e-6)
