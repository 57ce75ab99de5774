"""Recurrent networks over a window of feature rows: RNN, LSTM, GRU.

All read the last state of the top layer. Steps are computed one after another, so a window of 32
costs 32 small products: narrow networks, one thread.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from pipelines.architectures.hyperparameters import integer
from pipelines.architectures.networks import Body, Network
from pipelines.architectures.spaces import SPACES
from registry.contract import Json

Cells = Callable[..., nn.RNNBase]


class Recurrence(Body):
    """Recurrent layers: (sample, step, feature) -> last state (sample, width)."""

    def __init__(self, cells: Cells, n_features: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        self.width = hidden
        self.cells = cells(n_features, hidden, n_layers, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        states: Tensor = self.cells(z)[0]
        return states[:, -1]


def _build(cells: Cells, n_features: int, _window: int, chosen: Mapping[str, Json]) -> Body:
    return Recurrence(cells, n_features, integer(chosen, "hidden"), integer(chosen, "layers"))


RNN = Network("rnn", 32, SPACES["rnn"], partial(_build, nn.RNN))
"""Elman 1990, tanh."""

LSTM = Network("lstm", 32, SPACES["lstm"], partial(_build, nn.LSTM))
"""Hochreiter & Schmidhuber 1997."""

GRU = Network("gru", 32, SPACES["gru"], partial(_build, nn.GRU))
"""Cho et al. 2014."""
