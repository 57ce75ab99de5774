"""Fit and predict around any torch module that maps `(sample, [step,] feature)` to scores.

Rows stay on the device for the whole fit; the last part of them in time decides when to stop.
Nothing global is left changed: shuffling uses a generator of its own, the module arrives
initialised, and the thread count is restored. Used by the torch architectures; what a network
looks like is their business.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.architectures import Objective, TrainingRows
from registry.errors import FitError
from registry.flavors import NativeModel
from registry.flavors.programs import save_program

CHUNK_ROWS = 512
"""Rows per prediction call; larger batches of windows are slower on a processor."""

IMPORTANCE_ROWS = 1000
MIN_ROWS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How to fit.

    `validation_fraction` of the rows, the newest, decide when to stop; `gap_fraction` of the rows
    before them are left out, because their labels reach into the validation rows (the horizon is
    not known here; 1 % of the rows is longer than it unless there are fewer than 100 times as
    many dates as bars of horizon).
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    n_threads: int
    validation_fraction: float = 0.1
    gap_fraction: float = 0.01
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Row numbers: train is [0, train_end), validation is [validation_start, n)."""

    train_end: int
    validation_start: int


def split_in_time(n_rows: int, plan: Plan) -> TimeSplit:
    """Return which rows train and which decide when to stop; the gap between them is unused."""
    start = n_rows - max(1, round(n_rows * plan.validation_fraction))
    return TimeSplit(start - max(1, round(n_rows * plan.gap_fraction)), start)


class TorchEstimator:
    """A fitted module; `predict` takes rows of the shape it was fitted on."""

    def __init__(
        self, module: nn.Module, n_scores: int, row_shape: tuple[int, ...], n_threads: int = 1
    ) -> None:
        self.n_scores = n_scores
        self._n_threads = n_threads
        self._module = module.eval().requires_grad_(False)
        self._row_shape = row_shape

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw scores, float32 (n, n_scores)."""
        device = next(self._module.parameters()).device
        scores = np.empty((len(X), self.n_scores), np.float32)
        with torch.inference_mode(), _threads(self._n_threads):
            for start in range(0, len(X), CHUNK_ROWS):
                chunk = torch.tensor(X[start : start + CHUNK_ROWS], device=device)
                scores[start : start + CHUNK_ROWS] = self._module(chunk).cpu().numpy()
        return scores

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean |gradient x (input - mean input)| over evenly spaced rows, summing to 1.

        Added over the steps of a window before the absolute value is taken, so that one
        feature's steps can cancel, and over the scores after it. Where no score depends on any
        input, every feature gets the same share.
        """
        rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), IMPORTANCE_ROWS)).astype(np.intp))
        device = next(self._module.parameters()).device
        inputs = torch.tensor(X[rows], device=device, requires_grad=True)
        offset = (inputs - inputs.mean(dim=0)).detach()
        share = torch.zeros(inputs.shape[-1], dtype=torch.float64)
        with _threads(self._n_threads):
            scores = self._module(inputs)
            for k in range(self.n_scores):
                (slope,) = torch.autograd.grad(scores[:, k].sum(), inputs, retain_graph=True)
                effect = (slope * offset).reshape(len(rows), -1, inputs.shape[-1]).sum(dim=1)
                share += effect.abs().mean(dim=0).double().cpu()
        total = float(share.sum())
        values: NDArray[np.float64] = share.numpy()
        return values / total if total > 0 else np.full(len(values), 1.0 / len(values))

    def native(self) -> NativeModel:
        """Return the module as a `torch.export` file with a dynamic batch dimension."""
        return NativeModel("torch-export", save_program(self._module.cpu(), self._row_shape))


def fit(
    name: str,
    module: nn.Module,
    rows: TrainingRows,
    objective: Objective,
    plan: Plan,
    seed: int,
) -> TorchEstimator:
    """Fit an initialised module and return it with the weights of its best epoch.

    AdamW (Loshchilov & Hutter 2019) with clipped gradients; stops after `plan.patience` epochs
    without a lower validation loss. The same rows, module, plan and seed on the same machine give
    the same weights.

    Args:
        name: of the architecture, for error messages.
        rows: in time order, already checked.

    Raises:
        FitError: fewer than `MIN_ROWS` rows, or a loss that is not finite.
    """
    if len(rows.X) < MIN_ROWS:
        raise FitError(name, f"{len(rows.X)} rows, {MIN_ROWS} needed", "use more bars or symbols")
    split = split_in_time(len(rows.X), plan)
    data = [torch.tensor(a, device=plan.device) for a in (rows.X, *_targets(rows, objective))]
    module.to(plan.device)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )
    generator = torch.Generator().manual_seed(seed)
    best, best_state, stale = math.inf, _copied(module), 0
    with _threads(plan.n_threads):
        for epoch in range(plan.epochs):
            order = torch.randperm(split.train_end, generator=generator).to(plan.device)
            _train_epoch(module, data, order, objective, plan, optimizer)
            found = _validation_loss(module, data, split.validation_start, objective)
            if not math.isfinite(found):
                hint = "lower learning_rate or check the features for extreme values"
                raise FitError(name, f"the loss is {found} after epoch {epoch + 1}", hint)
            if found < best:
                best, best_state, stale = found, _copied(module), 0
            else:
                stale += 1
            if stale >= plan.patience:
                break
    module.load_state_dict(best_state)
    return TorchEstimator(module, objective.n_scores, rows.X.shape[1:], plan.n_threads)


def row_loss(scores: Tensor, y: Tensor, objective: Objective) -> Tensor:
    """Return the loss of each row, (n,).

    `gamma`: s + y exp(-s), half the gamma deviance up to a constant in y; `softmax`: log loss
    of the logits; `squared`: (s - y)^2.
    """
    if objective.loss == "softmax":
        return nn.functional.cross_entropy(scores, y, reduction="none")
    s = scores[:, 0]
    if objective.loss == "gamma":
        return s + y * torch.exp(-s)
    return (s - y) ** 2


def _targets(rows: TrainingRows, objective: Objective) -> tuple[NDArray[np.generic], ...]:
    dtype = np.int64 if objective.loss == "softmax" else np.float32
    return rows.y.astype(dtype), rows.weight.astype(np.float32)


def _train_epoch(
    module: nn.Module,
    data: list[Tensor],
    order: Tensor,
    objective: Objective,
    plan: Plan,
    optimizer: torch.optim.Optimizer,
) -> None:
    module.train()
    X, y, weight = data
    for batch in torch.split(order, plan.batch_size):
        loss = (weight[batch] * row_loss(module(X[batch]), y[batch], objective)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip_norm)
        optimizer.step()


def _validation_loss(
    module: nn.Module, data: list[Tensor], start: int, objective: Objective
) -> float:
    module.eval()
    X, y, weight = (a[start:] for a in data)
    with torch.inference_mode():
        scores = torch.cat([module(chunk) for chunk in torch.split(X, CHUNK_ROWS)])
        return float((weight * row_loss(scores, y, objective)).sum() / weight.sum())


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
