"""Recurrent networks: a small LSTM over a window of feature rows.

Standardisation is fitted on the training rows and lives in the module's buffers, so every flavor
carries it. Standardised inputs z are squashed to 5 tanh(z / 5): almost linear within three
standard deviations, bounded for a crash day or a feature that training never saw move, and
finite for every float32 input. Scores are the same quantities as those of boosted trees: log
forecast, logits, or the forecast.
"""

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.architectures import (
    QUIET,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
    check_rows,
)
from pipelines.hyperparameters import Number, Space, defaults, resolve
from pipelines.torch_estimator import Plan, fit, split_in_time
from registry.contract import Json
from registry.errors import ShapeError, ValueRangeError

SQUASH = 5.0

SPACE: Space = {
    "hidden": Number(32, 1, 1024, is_integer=True),
    "layers": Number(1, 1, 4, is_integer=True),
    "epochs": Number(4, 1, 1000, is_integer=True),
    "patience": Number(2, 1, 1000, is_integer=True),
    "batch_size": Number(512, 8, 65_536, is_integer=True),
    "learning_rate": Number(0.003, 1e-6, 1.0),
    "weight_decay": Number(0.01, 0.0, 10.0),
    "clip_norm": Number(1.0, 1e-3),
    # steps of a small LSTM are too short for two threads: on a busy machine they wait for each
    # other many times longer than they compute
    "nthread": Number(1, 1, 64, is_integer=True),
}


class LstmNetwork(nn.Module):
    """Standardise, squash, run an LSTM (Hochreiter & Schmidhuber 1997), read its last state.

    `forward`: float32 (sample, step, feature) -> (sample, score).
    """

    mean: Tensor
    inverse_scale: Tensor

    def __init__(self, n_features: int, n_scores: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("inverse_scale", torch.ones(n_features))
        self.lstm = nn.LSTM(n_features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, n_scores)

    def forward(self, features: Tensor) -> Tensor:
        z = (features - self.mean) * self.inverse_scale
        states, _ = self.lstm(SQUASH * torch.tanh(z / SQUASH))
        return cast(Tensor, self.head(states[:, -1]))


class Lstm:
    """An LSTM with a linear head."""

    name = "lstm"
    native_format = "torch-export"
    default_window = 32
    objectives: tuple[Loss, ...] = ("gamma", "softmax", "squared")

    def parameters(self, objective: Objective) -> dict[str, Json]:
        """Return the defaults, which are the same for every objective."""
        return defaults(SPACE)

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
            ShapeError: no rows, or rows without a window.
            ValueRangeError: a NaN or infinite feature, or a target outside the objective's domain.
            FitError: too few rows, or a loss that is not finite.
        """
        chosen = resolve(SPACE, parameters)
        _check_windows(rows, objective)
        plan = _plan(chosen)
        n_train = split_in_time(len(rows.X), plan).train_end
        generator = torch.Generator().manual_seed(seed)
        sizes = _int(chosen["hidden"]), _int(chosen["layers"])
        with torch.random.fork_rng(devices=()):  # torch draws weights that are replaced below
            network = LstmNetwork(rows.X.shape[2], objective.n_scores, *sizes)
        _initialise(network, generator)
        _standardise(network, rows.X[:n_train, -1])
        _start_at_constant(network, rows.y[:n_train], rows.weight[:n_train], objective)
        return fit(self.name, network, rows, objective, plan, seed)


def _check_windows(rows: TrainingRows, objective: Objective) -> None:
    check_rows(rows, objective)
    if rows.X.ndim != 3:
        wanted = "(n, window, n_features), so window of at least 2"
        raise ShapeError("lstm rows", wanted, str(rows.X.shape))
    if np.isnan(rows.X).any():
        raise ValueRangeError("training features", np.nan, "finite float32 numbers")


def _plan(chosen: Mapping[str, Json]) -> Plan:
    return Plan(
        epochs=_int(chosen["epochs"]),
        patience=_int(chosen["patience"]),
        batch_size=_int(chosen["batch_size"]),
        learning_rate=cast(float, chosen["learning_rate"]),
        weight_decay=cast(float, chosen["weight_decay"]),
        clip_norm=cast(float, chosen["clip_norm"]),
        n_threads=_int(chosen["nthread"]),
    )


def _int(value: Json) -> int:
    return cast(int, value)


def _initialise(network: LstmNetwork, generator: torch.Generator) -> None:
    """Draw every weight from U(-1/sqrt(hidden), 1/sqrt(hidden)), as torch does, reproducibly."""
    bound = 1.0 / math.sqrt(network.lstm.hidden_size)
    with torch.no_grad():
        for weight in network.parameters():
            weight.uniform_(-bound, bound, generator=generator)


def _standardise(network: LstmNetwork, newest: NDArray[np.float32]) -> None:
    """Set the buffers from the newest step of each row, (n, n_features); constants keep scale 1.

    Nearly every step of a window is the newest step of an earlier row, so its distribution stands
    for all steps.
    """
    mean, scale = newest.mean(axis=0, dtype=np.float64), newest.std(axis=0, dtype=np.float64)
    varies = scale > 1e-6 * np.abs(mean)
    inverse = np.divide(1.0, scale, out=np.ones_like(scale), where=varies)
    network.mean = torch.from_numpy(mean.astype(np.float32))
    network.inverse_scale = torch.from_numpy(inverse.astype(np.float32))


def _start_at_constant(
    network: LstmNetwork,
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    objective: Objective,
) -> None:
    """Set the head's bias to the best constant score, so that training starts from there."""
    if objective.loss == "softmax":
        mass = np.bincount(y.astype(np.intp), weight, minlength=objective.n_scores) + 1.0
        start = np.log(mass / mass.sum())
    else:
        mean = np.average(y, weights=weight)
        start = np.atleast_1d(np.log(mean) if objective.loss == "gamma" else mean)
    with torch.no_grad():
        network.head.bias.copy_(torch.from_numpy(start.astype(np.float32)))


LSTM = Lstm()
