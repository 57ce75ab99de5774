"""A multilayer perceptron over one row of features."""

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from pipelines.architectures.hyperparameters import integer, real
from pipelines.architectures.networks import Body, Network
from pipelines.architectures.spaces import SPACES
from registry.contract import Json


class Perceptron(Body):
    """Linear layers with ReLU and dropout: (sample, feature) -> (sample, width)."""

    def __init__(self, n_features: int, hidden: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.width = hidden
        sizes = [n_features, *[hidden] * n_layers]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
                for before, after in pairwise(sizes)
            )
        )

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.layers(z))


def _build(n_features: int, _window: int, chosen: Mapping[str, Json]) -> Body:
    sizes = integer(chosen, "hidden"), integer(chosen, "layers")
    return Perceptron(n_features, *sizes, real(chosen, "dropout"))


MLP = Network("mlp", 1, SPACES["mlp"], _build)
