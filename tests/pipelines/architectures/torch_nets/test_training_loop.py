import io
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import GammaRegressor
from sklearn.metrics import log_loss, mean_gamma_deviance
from torch import nn

from pipelines import progress
from pipelines.architectures import FitContext, Objective, TrainingRows
from pipelines.architectures.torch_nets.training_loop import Plan, fit, row_loss, split_in_time
from registry.errors import FitError, ParameterError

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import

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


def test_novelty_loss_is_the_reconstruction_error():
    errors = torch.tensor([0.1, 2.0, 30.0])
    found = row_loss(torch.log(errors)[:, None], torch.zeros(3), Objective("novelty"))
    np.testing.assert_allclose(found.numpy(), errors.numpy(), rtol=1e-6)


def test_every_epoch_is_reported_with_both_losses():
    seen = []
    context = FitContext(report=lambda epoch, metrics: seen.append((epoch, dict(metrics))))
    plan = replace(PLAN, epochs=3)
    fit("linear", linear(), gamma_rows(), Objective("gamma"), plan, 0, context)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert all(set(m) == {"train_loss", "validation_loss"} for _, m in seen)
    assert seen[2][1]["train_loss"] < seen[0][1]["train_loss"]


def test_the_bar_is_drawn_on_a_terminal_and_nowhere_else(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return self.is_terminal

    drawn = {}
    for is_terminal in (True, False):
        screen = Screen()
        screen.is_terminal = is_terminal
        monkeypatch.setattr(sys, "stderr", screen)
        plan = replace(PLAN, epochs=2)
        with progress.shown(), progress.part("fold 3"):
            fit("linear", linear(), gamma_rows(), Objective("gamma"), plan, 0)
        drawn[is_terminal] = screen.getvalue()
    assert "fold 3" in drawn[True] and "100%" in drawn[True]
    assert drawn[False] == ""


class Greedy(nn.Module):
    """A linear module on a device that holds `most` rows at once."""

    def __init__(self, most):
        super().__init__()
        self.most, self.inner = most, linear()

    def forward(self, X):
        if len(X) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.inner(X)


def test_out_of_memory_halves_the_batch_says_so_and_fits_as_with_that_batch():
    rows, said = gamma_rows(), []
    plan = replace(PLAN, epochs=3, batch_size=256)
    small = Greedy(100)
    fit("greedy", small, rows, Objective("gamma"), plan, 0, FitContext(notice=said.append))
    assert said == [
        "greedy fit: cpu is out of memory in epoch 1 with batches of 256 rows: goes on with 128",
        "greedy fit: cpu is out of memory in epoch 1 with batches of 128 rows: goes on with 64",
    ]
    at_once = linear()
    fit("linear", at_once, rows, Objective("gamma"), replace(plan, batch_size=64), 0)
    assert torch.equal(small.inner.weight, at_once.weight)


def test_no_memory_for_a_single_row_is_an_error():
    with pytest.raises(FitError, match="cpu has no memory for one row in epoch 1"):
        fit("greedy", Greedy(0), gamma_rows(), Objective("gamma"), PLAN, 0)


def test_another_runtime_error_is_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit("linear", linear(3), gamma_rows(), Objective("gamma"), PLAN, 0)


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(ParameterError, match="device='tpu': expected auto or .*cpu"):
        fit("linear", linear(), gamma_rows(), Objective("gamma"), PLAN, 0, FitContext(device="tpu"))


class Noisy(nn.Module):
    """Dropout and a linear module: its result depends on torch's random state."""

    def __init__(self):
        super().__init__()
        self.drop, self.inner = nn.Dropout(0.3), linear()

    def forward(self, X):
        return self.inner(self.drop(X))


def interrupted_after(epoch):
    def stop(done, metrics):
        if done == epoch:
            raise KeyboardInterrupt

    return stop


def test_an_interrupted_fit_goes_on_to_bitwise_the_same_weights_and_history(tmp_path):
    rows, plan = gamma_rows(), replace(PLAN, epochs=6)
    whole, resumed = Noisy(), Noisy()
    seen, again, said = [], [], []
    straight = FitContext(report=lambda e, m: seen.append((e, dict(m))))
    fit("noisy", whole, rows, Objective("gamma"), plan, 0, straight)
    place = tmp_path / "deep" / "fit.pt"
    stopped = FitContext(checkpoint=place, report=interrupted_after(3))
    with pytest.raises(KeyboardInterrupt):
        fit("noisy", Noisy(), rows, Objective("gamma"), plan, 0, stopped)
    context = FitContext(
        checkpoint=place, report=lambda e, m: again.append((e, dict(m))), notice=said.append
    )
    fit("noisy", resumed, rows, Objective("gamma"), plan, 0, context)
    assert said == ["noisy fit: resumed after epoch 3"]
    assert torch.equal(whole.inner.weight, resumed.inner.weight)
    assert again == seen


def test_a_finished_fit_is_not_fitted_again(tmp_path):
    rows, context = gamma_rows(), FitContext(checkpoint=tmp_path / "fit.pt")
    plan = replace(PLAN, epochs=2)
    first, second = linear(), Greedy(0)
    fit("linear", first, rows, Objective("gamma"), plan, 0, context)
    again = linear()
    fit("linear", again, rows, Objective("gamma"), plan, 0, context)
    assert torch.equal(first.weight, again.weight)
    with pytest.raises(FitError):  # another module does not take the checkpoint up
        fit("linear", second, rows, Objective("gamma"), plan, 0, context)


@pytest.mark.parametrize("change", ["rows", "seed", "plan"])
def test_a_checkpoint_of_another_fit_is_not_taken_up(tmp_path, change):
    rows, said = gamma_rows(), []
    context = FitContext(checkpoint=tmp_path / "fit.pt", notice=said.append)
    plan = replace(PLAN, epochs=2)
    fit("linear", linear(), rows, Objective("gamma"), plan, 0, context)
    other_rows = gamma_rows(seed=1) if change == "rows" else rows
    other_plan = replace(plan, epochs=3) if change == "plan" else plan
    seed = int(change == "seed")
    taken, fresh = linear(), linear()
    fit("linear", taken, other_rows, Objective("gamma"), other_plan, seed, context)
    fit("linear", fresh, other_rows, Objective("gamma"), other_plan, seed)
    assert torch.equal(taken.weight, fresh.weight)
    expected = "fit.pt belongs to a fit on other rows or with other parameters; starts anew"
    assert said == [f"linear fit: {expected}"]


class Fragile(nn.Module):
    """A linear module that fails after so many forward passes."""

    def __init__(self, n_good):
        super().__init__()
        self.n_left, self.inner = n_good, linear()

    def forward(self, X):
        self.n_left -= 1
        return self.inner(X) * (1.0 if self.n_left >= 0 else float("nan"))


def test_a_loss_that_is_no_number_names_the_epoch_and_keeps_the_last_good_checkpoint(tmp_path):
    rows = gamma_rows(200)  # one batch and one validation pass per epoch
    plan = replace(PLAN, batch_size=512)
    place = tmp_path / "fit.pt"
    with pytest.raises(FitError, match=r"loss is nan after epoch 3; .*checkpoint of epoch 2 is"):
        fit("fragile", Fragile(4), rows, Objective("gamma"), plan, 0, FitContext(checkpoint=place))
    assert torch.load(place, weights_only=True)["epoch"] == 2


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import numpy as np
from pipelines.architectures import ARCHITECTURES, FitContext, Objective, TrainingRows
rng = np.random.default_rng(0)
X = rng.standard_normal((300, 4, 2)).astype(np.float32)
rows = TrainingRows(X, rng.gamma(3.0, 1.0, 300), np.ones(300))
def report(epoch, metrics):
    if epoch == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)
context = FitContext(checkpoint=Path({place!r}), report=report)
parameters = {{"epochs": 5, "patience": 9, "hidden": 4, "batch_size": 64}}
fitted = ARCHITECTURES.get("lstm").fit(rows, Objective("gamma"), parameters, 0, context)
sys.stdout.buffer.write(fitted.predict(X).tobytes())
"""


def run_killed(place, kill_at):
    root = str(Path(__file__).parents[4])
    code = KILLED.format(root=root, place=str(place), kill_at=kill_at)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)


@pytest.mark.slow
def test_a_fit_killed_in_training_ends_with_bitwise_the_scores_of_one_that_was_not(tmp_path):
    killed = run_killed(tmp_path / "a.pt", kill_at=2)
    assert killed.returncode == -signal.SIGKILL
    resumed = run_killed(tmp_path / "a.pt", kill_at=0)
    whole = run_killed(tmp_path / "b.pt", kill_at=0)
    assert len(whole.stdout) == 300 * 4
    assert resumed.stdout == whole.stdout
