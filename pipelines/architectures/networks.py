"""Networks: what all torch architectures share.

Standardisation is fitted on the training rows and lives in the module's buffers, so every flavor
carries it. Standardised inputs z become 5 tanh(z / 5). That is almost linear within three standard
deviations, bounded for a crash day or for a feature that did not move in training, and finite for
every float32 input. A supervised network is this scaling, a body of its own, and a linear head that
starts from the best constant score. Its scores are the same quantities as those of boosted trees:
log forecast, logits, or the forecast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
)
from pipelines.architectures.hyperparameters import Space, integer, real, resolve
from pipelines.architectures.rows import checked_rows
from pipelines.architectures.torch_nets.training_loop import Plan, fit, split_in_time
from pipelines.method.rows import newest_step
from registry.contract import Json
from registry.errors import ValueRangeError

SQUASH = 5.0

M = TypeVar("M", bound=nn.Module)


class Scaling(nn.Module):
    """Standardise and squash; `forward` keeps the shape (sample, [step,] feature)."""

    mean: Tensor
    inverse_scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("inverse_scale", torch.ones(n_features))

    def forward(self, features: Tensor) -> Tensor:
        z = (features - self.mean) * self.inverse_scale
        return SQUASH * torch.tanh(z / SQUASH)

    def learn(self, X: NDArray[np.float32]) -> None:
        """Take mean and scale from rows, or from the newest step of windows; constants keep 1.

        Nearly every step of a window is the newest step of an earlier row, so its distribution
        stands for all steps.
        """
        newest = newest_step(X)
        mean, scale = newest.mean(axis=0, dtype=np.float64), newest.std(axis=0, dtype=np.float64)
        varies = scale > 1e-6 * np.abs(mean)
        inverse = np.divide(1.0, scale, out=np.ones_like(scale), where=varies)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.inverse_scale.copy_(torch.from_numpy(inverse.astype(np.float32)))


class Body(nn.Module):
    """The part that turns scaled inputs (sample, [step,] feature) into (sample, `width`)."""

    width: int


class ScoringNetwork(nn.Module):
    """Scaling, body, linear head: float32 (sample, [step,] feature) -> (sample, score)."""

    def __init__(self, n_features: int, body: Body, n_scores: int) -> None:
        super().__init__()
        self.scaling = Scaling(n_features)
        self.body = body
        self.head = nn.Linear(body.width, n_scores)

    def forward(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.body(self.scaling(features))))


class CausalBlock(nn.Module):
    """Two dilated causal convolutions around a shortcut; shape (sample, channel, step)."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, dilation: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.layers = nn.Sequential(
            nn.ConstantPad1d((reach, 0), 0.0),
            nn.Conv1d(n_in, n_out, kernel, dilation=dilation),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.ConstantPad1d((reach, 0), 0.0),
            nn.Conv1d(n_out, n_out, kernel, dilation=dilation),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv1d(n_in, n_out, 1)

    def forward(self, series: Tensor) -> Tensor:
        return nn.functional.relu(self.layers(series) + self.shortcut(series))


@dataclass(slots=True, eq=False)
class Network(Architecture):
    """A supervised network as an architecture; `build` makes its body.

    Args:
        default_window: 1 for a network over rows, more for one over windows.
        space: parameters of the body and of the training loop.
        build: (n_features, window, resolved parameters) -> body.
    """

    name: str
    default_window: int
    space: Space
    build: Callable[[int, int, Mapping[str, Json]], Body]
    native_format: str = "torch-export"
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit on the older rows and stop by the loss on the newest tenth.

        Raises:
            ParameterError: an unknown parameter or a value of the wrong kind or range.
            ShapeError: no rows, or rows with a window where none is taken or the reverse.
            ValueRangeError: a NaN or infinite feature, or a target outside the objective's domain.
            FitError: too few rows, or a loss that is not finite.
        """
        chosen = resolve(self.space, parameters)
        check_inputs(self, rows, objective)
        plan = plan_of(chosen)
        window = rows.X.shape[1] if rows.X.ndim == 3 else 1
        n_features = rows.X.shape[-1]
        network = built(
            lambda: ScoringNetwork(
                n_features, self.build(n_features, window, chosen), objective.n_scores
            ),
            seed,
        )
        older = slice(0, split_in_time(len(rows.X), plan).train_end)
        network.scaling.learn(rows.X[older])
        _start_at_constant(network.head, rows.y[older], rows.weight[older], objective)
        return fit(self.name, network, rows, objective, plan, seed, context)


def check_inputs(network: Architecture, rows: TrainingRows, objective: Objective) -> None:
    """Refuse rows or an objective that a network cannot take.

    Raises:
        ParameterError: an objective that it is not fitted for.
        ShapeError: windows where rows are taken, or the reverse.
        ValueRangeError: a NaN or infinite feature, or a target outside the objective's domain.
    """
    checked_rows(network, rows, objective)
    if np.isnan(rows.X).any():
        expected = "finite float32 numbers (a network has no rule for a missing value)"
        raise ValueRangeError("training features", np.nan, expected)


def plan_of(chosen: Mapping[str, Json]) -> Plan:
    """Return the training loop's part of resolved parameters."""
    return Plan(
        epochs=integer(chosen, "epochs"),
        patience=integer(chosen, "patience"),
        batch_size=integer(chosen, "batch_size"),
        learning_rate=real(chosen, "learning_rate"),
        weight_decay=real(chosen, "weight_decay"),
        clip_norm=real(chosen, "clip_norm"),
        n_threads=integer(chosen, "nthread"),
    )


def built(build: Callable[[], M], seed: int) -> M:
    """Return a module with the initial weights of a seed; torch's random state is restored."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()


def _start_at_constant(
    head: nn.Linear, y: NDArray[np.float64], weight: NDArray[np.float64], objective: Objective
) -> None:
    """Set the head's bias to the best constant score, so that training starts from there."""
    if objective.loss == "softmax":
        mass = np.bincount(y.astype(np.intp), weight, minlength=objective.n_scores) + 1.0
        start = np.log(mass / mass.sum())
    else:
        mean = np.average(y, weights=weight)
        start = np.atleast_1d(np.log(mean) if objective.loss == "gamma" else mean)
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(start.astype(np.float32)))
