"""Autoencoders over rows and over windows: unusual inputs, and states of the market.

An autoencoder learns to rebuild scaled inputs from a few numbers, the latent point. For objective
`novelty` the score is the log of the mean squared error of the rebuilt input: larger is more
unusual. For `states` the decoder is dropped after training and the latent points are clustered: the
model maps inputs to log weights of the clusters. Clustering needs scikit-learn at fit time only;
centres and core points are buffers of the module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

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
from pipelines.architectures.hyperparameters import integer, resolve
from pipelines.architectures.networks import Scaling, built, check_inputs, plan_of
from pipelines.architectures.spaces import space_of
from pipelines.architectures.torch_nets import clusters
from pipelines.architectures.torch_nets.clusters import Clusters
from pipelines.architectures.torch_nets.torch_estimator import TorchEstimator
from pipelines.architectures.torch_nets.training_loop import fit, split_in_time
from registry.contract import Json
from registry.errors import ParameterError

ERROR_FLOOR = 1e-6
"""Added to a mean squared error before its log: an input rebuilt exactly scores -13.8."""


class Coder(nn.Module):
    """Two parts: `encoder` (sample, [step,] feature) -> (sample, latent); `decoder` back."""

    encoder: nn.Module
    decoder: nn.Module


class RowCoder(Coder):
    """Perceptrons with one hidden layer each."""

    def __init__(self, n_features: int, _window: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = _perceptron(n_features, hidden, latent)
        self.decoder = _perceptron(latent, hidden, n_features)


class WindowEncoder(nn.Module):
    """The last state of an LSTM, brought to the latent size."""

    def __init__(self, n_features: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.cells = nn.LSTM(n_features, hidden, batch_first=True)
        self.out = nn.Linear(hidden, latent)

    def forward(self, z: Tensor) -> Tensor:
        states: Tensor = self.cells(z)[0]
        return cast(Tensor, self.out(states[:, -1]))


class WindowDecoder(nn.Module):
    """An LSTM that gets the latent point at every step and gives the features."""

    def __init__(self, n_features: int, window: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.window = window
        self.cells = nn.LSTM(latent, hidden, batch_first=True)
        self.out = nn.Linear(hidden, n_features)

    def forward(self, point: Tensor) -> Tensor:
        repeated = point.unsqueeze(1).expand(-1, self.window, -1)
        return cast(Tensor, self.out(self.cells(repeated)[0]))


class WindowCoder(Coder):
    """LSTM to LSTM (Srivastava, Mansimov & Salakhutdinov 2015)."""

    def __init__(self, n_features: int, window: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = WindowEncoder(n_features, hidden, latent)
        self.decoder = WindowDecoder(n_features, window, hidden, latent)


class ReconstructionNetwork(nn.Module):
    """(sample, [step,] feature) -> log mean squared error of the rebuilt input, (sample, 1)."""

    def __init__(self, n_features: int, coder: Coder) -> None:
        super().__init__()
        self.scaling = Scaling(n_features)
        self.coder = coder

    def forward(self, features: Tensor) -> Tensor:
        z = self.scaling(features)
        rebuilt = self.coder.decoder(self.coder.encoder(z))
        error = ((z - rebuilt) ** 2).flatten(1).mean(dim=1, keepdim=True)
        return torch.log(error + ERROR_FLOOR)


class StatesNetwork(nn.Module):
    """Scaling, encoder, log weights of clusters: (sample, [step,] feature) -> (sample, state)."""

    mean: Tensor
    inverse_scale: Tensor
    centres: Tensor
    offset: Tensor

    def __init__(
        self, scaling: Scaling, encoder: nn.Module, latent: "LatentScale", found: Clusters
    ) -> None:
        super().__init__()
        self.scaling, self.encoder = scaling, encoder
        for name, values in (
            ("mean", latent.mean),
            ("inverse_scale", latent.inverse_scale),
            ("centres", found.centres),
            ("offset", found.offset),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        self.inverse_variance = float(0.5 / found.variance)
        self.noise, self.noise_log_weight = found.noise, found.noise_log_weight
        counts = np.bincount(found.state, minlength=found.n_states)
        self.ends = np.cumsum(counts).tolist()

    def forward(self, features: Tensor) -> Tensor:
        point = (self.encoder(self.scaling(features)) - self.mean) * self.inverse_scale
        squared = ((point.unsqueeze(1) - self.centres) ** 2).sum(dim=2)
        every = self.offset - squared * self.inverse_variance
        weights, start = [], 0
        for k, end in enumerate(self.ends):
            if k == self.noise:
                weights.append(torch.full_like(every[:, 0], self.noise_log_weight))
            else:
                weights.append(every[:, start:end].amax(dim=1))
            start = end
        return torch.stack(weights, dim=1)


@dataclass(frozen=True, slots=True)
class LatentScale:
    """Mean and inverse deviation of latent points, (latent,)."""

    mean: NDArray[np.float64]
    inverse_scale: NDArray[np.float64]

    @classmethod
    def of(cls, latent: NDArray[np.float64]) -> "LatentScale":
        """Learn from points; a constant coordinate keeps scale 1."""
        scale = latent.std(axis=0)
        inverse = np.divide(1.0, scale, out=np.ones_like(scale), where=scale > ERROR_FLOOR)
        return cls(latent.mean(axis=0), inverse)

    def apply(self, latent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return standardised points."""
        return (latent - self.mean) * self.inverse_scale


@dataclass(slots=True, eq=False)
class Autoencoder(Architecture):
    """An autoencoder as an architecture; `build` makes its coder.

    Args:
        default_window: 1 for one over rows, more for one over windows.
        build: (n_features, window, hidden, latent) -> coder.
    """

    name: str
    default_window: int
    build: Callable[[int, int, int, int], Coder]
    native_format: str = "torch-export"
    objectives: tuple[Loss, ...] = ("novelty", "states")

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Train the coder on the older rows; for `states`, cluster the latent points of all.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or one state.
            ShapeError: no rows, or rows with a window where none is taken or the reverse.
            ValueRangeError: a NaN or infinite feature.
            FitError: too few rows, a loss that is not finite, or too few dense clusters.
        """
        chosen = resolve(space_of(self.name, objective.loss), parameters)
        n_threads = integer(chosen, "nthread")
        if objective.loss != "states":
            network = self._train(rows, objective, chosen, seed, context)
            return TorchEstimator(network, 1, rows.X.shape[1:], n_threads)
        n_states = _wanted_states(chosen, objective)
        network = self._train(rows, objective, chosen, seed, context)
        method = str(chosen["clustering"])
        scale, points = _points(network, rows, n_threads)
        if n_states == 0:
            n_states = clusters.choose_n_states(method, points, rows.weight, seed)
        found = clusters.find(self.name, method, points, rows.weight, n_states, seed)
        found = clusters.by_variance(found, points, rows.y, rows.weight)
        states = StatesNetwork(network.scaling, network.coder.encoder, scale, found)
        return TorchEstimator(states, found.n_states, rows.X.shape[1:], n_threads)

    def choose(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
    ) -> dict[str, Json]:
        """Return the parameters with a number of states, chosen from these rows if it was 0."""
        chosen = resolve(space_of(self.name, objective.loss), parameters)
        if objective.loss != "states" or _wanted_states(chosen, objective):
            return chosen
        network = self._train(rows, objective, chosen, seed, QUIET)
        _, points = _points(network, rows, integer(chosen, "nthread"))
        method = str(chosen["clustering"])
        return chosen | {"n_states": clusters.choose_n_states(method, points, rows.weight, seed)}

    def _train(
        self,
        rows: TrainingRows,
        objective: Objective,
        chosen: Mapping[str, Json],
        seed: int,
        context: FitContext,
    ) -> ReconstructionNetwork:
        check_inputs(self, rows, objective)
        plan = plan_of(chosen)
        window = rows.X.shape[1] if rows.X.ndim == 3 else 1
        n_features = rows.X.shape[-1]
        sizes = integer(chosen, "hidden"), integer(chosen, "latent")
        network = built(
            lambda: ReconstructionNetwork(n_features, self.build(n_features, window, *sizes)), seed
        )
        network.scaling.learn(rows.X[: split_in_time(len(rows.X), plan).train_end])
        fit(self.name, network, rows, Objective("novelty"), plan, seed, context)
        return network


def _perceptron(n_in: int, hidden: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, n_out))


def _wanted_states(chosen: Mapping[str, Json], objective: Objective) -> int:
    """Return the number of states asked for; 0 leaves it to the data.

    Raises:
        ParameterError: a single state.
    """
    wanted = integer(chosen, "n_states")
    if wanted == 1:
        raise ParameterError("n_states", 1, "0 to choose it from the data, or at least 2")
    return wanted or (objective.n_scores if objective.n_scores > 1 else 0)


def _points(
    network: ReconstructionNetwork, rows: TrainingRows, n_threads: int
) -> tuple[LatentScale, NDArray[np.float64]]:
    """Return the standardised latent points of all rows, (n, latent), and their scale."""
    encode = nn.Sequential(network.scaling, network.coder.encoder)
    n_latent = len(network.coder.encoder(network.scaling(torch.tensor(rows.X[:1])))[0])
    estimator = TorchEstimator(encode, n_latent, rows.X.shape[1:], n_threads)
    latent = estimator.predict(rows.X).astype(np.float64)
    scale = LatentScale.of(latent)
    return scale, scale.apply(latent)


AUTOENCODER = Autoencoder("autoencoder", 1, RowCoder)
LSTM_AUTOENCODER = Autoencoder("lstm_autoencoder", 32, WindowCoder)
