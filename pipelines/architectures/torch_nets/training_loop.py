"""The one training loop of all networks: rows in, the weights of the best epoch out.

Rows stay on the device for the whole fit, and the newest part of them decides when to stop. After
every epoch the loop reports its metrics and keeps a checkpoint, if the caller gave a place for
them. A killed fit goes on from there and ends with bitwise the same weights. When a device runs out
of memory the loop halves the batch, says so, and goes on. It restores the global random state and
thread count.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines import progress
from pipelines.architectures import QUIET, FitContext, Objective, TrainingRows
from pipelines.architectures.torch_nets import checkpoints, devices
from pipelines.architectures.torch_nets.checkpoints import Checkpoint
from pipelines.architectures.torch_nets.torch_estimator import CHUNK_ROWS, TorchEstimator, threads
from registry.errors import FitError

MIN_ROWS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How to fit.

    The newest `validation_fraction` of the rows decides when to stop. `gap_fraction` of the rows
    before them is left out, because their labels reach into the validation rows. The horizon is not
    known here; 1 % of the rows is longer than it, unless there are fewer than 100 times as many
    dates as bars of horizon.
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


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Row numbers: train is [0, train_end), validation is [validation_start, n)."""

    train_end: int
    validation_start: int


def split_in_time(n_rows: int, plan: Plan) -> TimeSplit:
    """Split rows into those that train and those that decide when to stop, with an unused gap."""
    start = n_rows - max(1, round(n_rows * plan.validation_fraction))
    return TimeSplit(start - max(1, round(n_rows * plan.gap_fraction)), start)


def fit(
    name: str,
    module: nn.Module,
    rows: TrainingRows,
    objective: Objective,
    plan: Plan,
    seed: int,
    context: FitContext = QUIET,
) -> TorchEstimator:
    """Fit an initialised module and return it with the weights of its best epoch.

    AdamW (Loshchilov & Hutter 2019) with clipped gradients; stops after `plan.patience` epochs
    without a lower validation loss. The same rows, module, plan and seed on the same processor
    give the same weights, bit for bit, whether or not the fit was killed and resumed on its way.

    Args:
        name: of the architecture, for error messages.
        rows: in time order, already checked.

    Raises:
        FitError: fewer than `MIN_ROWS` rows, a loss that is not finite, or no memory for a
            single row.
        ParameterError: `context.device` is not here.
    """
    if len(rows.X) < MIN_ROWS:
        raise FitError(name, f"{len(rows.X)} rows, {MIN_ROWS} needed", "use more bars or symbols")
    device = devices.choose(context.device)
    arrays = (rows.X, *_targets(rows, objective))
    facts = (name, objective, plan, seed)
    mark = checkpoints.fingerprint(facts, arrays, module.state_dict()) if context.checkpoint else ""
    training = _Training(name, module.to(device), plan, context, mark)
    data = _Data([_placed(a, device, context) for a in arrays], objective, device)
    split = split_in_time(len(rows.X), plan)
    with threads(plan.n_threads), torch.random.fork_rng(devices=devices.seeded(device)):
        while not training.is_over:
            torch.manual_seed(_seed_of(seed, training.epoch))
            train_loss = training.run_epoch(data, split.train_end)
            training.take(train_loss, training.validation_loss(data, split.validation_start))
            progress.report(training.epoch, plan.epochs, training.account())
    module.load_state_dict(training.best_weights)
    return TorchEstimator(module, objective.n_scores, rows.X.shape[1:], plan.n_threads)


def row_loss(scores: Tensor, y: Tensor, objective: Objective) -> Tensor:
    """Return the loss of each row, (n,).

    `gamma`: s + y exp(-s), half the gamma deviance up to a constant in y; `softmax`: log loss
    of the logits; `squared`: (s - y)^2; `novelty`: exp(s), because s is the log of the
    reconstruction error.
    """
    if objective.loss == "softmax":
        return nn.functional.cross_entropy(scores, y, reduction="none")
    s = scores[:, 0]
    if objective.loss == "gamma":
        return s + y * torch.exp(-s)
    return torch.exp(s) if objective.loss == "novelty" else (s - y) ** 2


def _targets(rows: TrainingRows, objective: Objective) -> tuple[NDArray[np.generic], ...]:
    dtype = np.int64 if objective.loss == "softmax" else np.float32
    return rows.y.astype(dtype), rows.weight.astype(np.float32)


def _seed_of(seed: int, epoch: int) -> int:
    """Return the seed of one epoch's shuffling and dropout."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _placed(array: NDArray[Any], device: torch.device, context: FitContext) -> Tensor:
    """Return the array on the device; in main memory, with a notice, if it does not fit."""
    try:
        return torch.tensor(array, device=device)
    except RuntimeError as exc:
        if not devices.is_out_of_memory(exc):
            raise
        devices.release(device)
        _say(context, f"{array.nbytes:,} bytes of rows do not fit on {device}: copied by batch")
        return torch.tensor(array)


def _say(context: FitContext, line: str) -> None:
    if context.notice is not None:
        context.notice(line)


@dataclass(frozen=True, slots=True)
class _Data:
    """Features, targets and weights of all rows as tensors; `loss` takes some of the rows."""

    tensors: list[Tensor]
    objective: Objective
    device: torch.device

    def loss(self, module: nn.Module, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the sum of weighted losses of the chosen rows, and the sum of their weights."""
        X, y, weight = (t[chosen].to(self.device) for t in self.tensors)
        with devices.autocast(self.device):
            scores = module(X)
        return (weight * row_loss(scores.float(), y, self.objective)).sum(), weight.sum()


class _Training:
    """The state of one fit between two epochs, resumed from its checkpoint if there is one."""

    def __init__(
        self, name: str, module: nn.Module, plan: Plan, context: FitContext, mark: str
    ) -> None:
        self._name, self._module, self._plan, self._context = name, module, plan, context
        self._fingerprint = mark
        self._optimizer = torch.optim.AdamW(
            module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self.epoch, self.batch_size, self.best_loss, self.stale = 0, plan.batch_size, math.inf, 0
        self.best_weights = _copied(module)
        self.history: list[dict[str, float]] = []
        if context.checkpoint is not None:
            self._resume(checkpoints.load(context.checkpoint, mark, _device_of(module)))

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or enough of them without a lower validation loss."""
        return self.epoch >= self._plan.epochs or self.stale >= self._plan.patience

    def account(self) -> str:
        """Return the last epoch and its losses in words."""
        losses = ", ".join(f"{name} {loss:.4g}" for name, loss in self.history[-1].items())
        return f"epoch {self.epoch} of {self._plan.epochs} ({losses})"

    def run_epoch(self, data: _Data, n_train: int) -> float:
        """Take one pass over the training rows in random order; return their mean loss."""
        self._module.train()
        order = torch.randperm(n_train).to(data.tensors[0].device)
        total = torch.zeros((), device=data.device)
        mass = torch.zeros((), device=data.device)
        start = 0
        while start < n_train:
            batch = order[start : start + self.batch_size]
            try:
                loss, weight = self._step(data, batch)
            except RuntimeError as exc:
                self._halve(exc, data.device)
                continue
            total, mass, start = total + loss, mass + weight, start + len(batch)
        return float(total / mass)

    def validation_loss(self, data: _Data, start: int) -> float:
        """Return the weighted mean loss of the rows from `start` on."""
        self._module.eval()
        total, mass = 0.0, 0.0
        n_rows = len(data.tensors[0])
        while start < n_rows:
            stop = min(start + min(CHUNK_ROWS, self.batch_size), n_rows)
            try:
                with torch.inference_mode():
                    loss, weight = data.loss(self._module, slice(start, stop))
            except RuntimeError as exc:
                self._halve(exc, data.device)
                continue
            total, mass, start = total + float(loss), mass + float(weight), stop
        return total / mass

    def take(self, train_loss: float, validation_loss: float) -> None:
        """Note an epoch's losses: compare, report, keep.

        Raises:
            FitError: one of them is not finite; the last good checkpoint stays.
        """
        self._check(train_loss, validation_loss)
        self.epoch += 1
        self.stale += 1
        if validation_loss < self.best_loss:
            self.best_loss, self.best_weights = validation_loss, _copied(self._module)
            self.stale = 0
        self.history.append({"train_loss": train_loss, "validation_loss": validation_loss})
        if self._context.checkpoint is not None:
            checkpoints.save(self._context.checkpoint, self._checkpoint())
        if self._context.report is not None:
            self._context.report(self.epoch, self.history[-1])

    def _step(self, data: _Data, batch: Tensor) -> tuple[Tensor, Tensor]:
        loss, weight = data.loss(self._module, batch)
        self._optimizer.zero_grad()
        (loss / len(batch)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._module.parameters(), self._plan.clip_norm)
        self._optimizer.step()
        return loss.detach(), weight

    def _halve(self, error: RuntimeError, device: torch.device) -> None:
        """Go on with half the batch after running out of memory; raise anything else again."""
        if not devices.is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            problem = f"{device} has no memory for one row in epoch {self.epoch + 1}"
            hint = "free it, use a smaller network, or fit on the cpu"
            raise FitError(self._name, problem, hint) from error
        self._optimizer.zero_grad()
        devices.release(device)
        size, self.batch_size = self.batch_size, self.batch_size // 2
        done = f"{device} is out of memory in epoch {self.epoch + 1} with batches of {size} rows"
        _say(self._context, f"{self._name} {self._context.name}: {done}: goes on with {size // 2}")

    def _check(self, train_loss: float, validation_loss: float) -> None:
        if math.isfinite(train_loss) and math.isfinite(validation_loss):
            return
        bad = validation_loss if math.isfinite(train_loss) else train_loss
        hint = "lower learning_rate or check the features for extreme values"
        if self._context.checkpoint is not None and self.epoch > 0:
            hint += f" (the checkpoint of epoch {self.epoch} is kept)"
        raise FitError(self._name, f"the loss is {bad} after epoch {self.epoch + 1}", hint)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            fingerprint=self._fingerprint,
            epoch=self.epoch,
            batch_size=self.batch_size,
            best_loss=self.best_loss,
            stale=self.stale,
            history=self.history,
            weights=self._module.state_dict(),
            best_weights=self.best_weights,
            optimizer=self._optimizer.state_dict(),
        )

    def _resume(self, found: Checkpoint | str) -> None:
        """Take up a checkpoint, its history reported again; say why where there is none."""
        if isinstance(found, str):
            if found:
                _say(self._context, f"{self._name} {self._context.name}: {found}; starts anew")
            return
        self._module.load_state_dict(found.weights)
        self._optimizer.load_state_dict(found.optimizer)
        self.epoch, self.batch_size = found.epoch, found.batch_size
        self.best_loss, self.stale = found.best_loss, found.stale
        self.best_weights, self.history = found.best_weights, found.history
        _say(self._context, f"{self._name} {self._context.name}: resumed after epoch {found.epoch}")
        for epoch, metrics in enumerate(found.history, start=1):
            if self._context.report is not None:
                self._context.report(epoch, metrics)


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
