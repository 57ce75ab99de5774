"""A temporal convolutional network over a window (Bai, Kolter & Koltun 2018).

Residual blocks of two causal convolutions whose dilation doubles from block to block: after L
blocks with kernel k the last step sees 1 + 2 (k - 1)(2^L - 1) steps, 61 with the defaults.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from pipelines.architectures.hyperparameters import integer, real
from pipelines.architectures.networks import Body, CausalBlock, Network
from pipelines.architectures.spaces import SPACES
from registry.contract import Json


class Convolutions(Body):
    """Causal blocks read at the last step: (sample, step, feature) -> (sample, width)."""

    def __init__(
        self, n_features: int, hidden: int, n_layers: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = hidden
        self.blocks = nn.Sequential(
            *(
                CausalBlock(hidden if i else n_features, hidden, kernel, 2**i, dropout)
                for i in range(n_layers)
            )
        )

    def forward(self, z: Tensor) -> Tensor:
        series: Tensor = self.blocks(z.transpose(1, 2))
        return series[:, :, -1]


def _build(n_features: int, _window: int, chosen: Mapping[str, Json]) -> Body:
    hidden, n_layers, kernel = (integer(chosen, n) for n in ("hidden", "layers", "kernel"))
    return Convolutions(n_features, hidden, n_layers, kernel, real(chosen, "dropout"))


TCN = Network("tcn", 32, SPACES["tcn"], _build)
