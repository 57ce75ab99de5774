"""A transformer encoder over a window (Vaswani et al. 2017), normalised before each part.

It is written from plain parts and `scaled_dot_product_attention`. The inference fast path of
`nn.TransformerEncoder` is one fused operator that exporters do not know. Positions are learned, one
vector per step of the window. The score is read at the newest step.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipelines.architectures.hyperparameters import integer, real
from pipelines.architectures.networks import Body, Network
from pipelines.architectures.spaces import SPACES
from registry.contract import Json
from registry.errors import ParameterError

POSITION_DEVIATION = 0.02
"""Standard deviation of the initial position vectors, that of BERT and GPT-2."""


class Attention(nn.Module):
    """Multi-head self-attention over all steps; shape (sample, step, width)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        parts = self.inward(z).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # each (sample, head, step, width / heads)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, self.outward(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Attention, then a perceptron on every step, each around a shortcut."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.LayerNorm(width), Attention(width, n_heads), nn.Dropout(dropout)
        )
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, z: Tensor) -> Tensor:
        z = z + self.attention(z)
        return cast(Tensor, z + self.perceptron(z))


class Encoder(Body):
    """(sample, step, feature) -> newest step's state (sample, width)."""

    def __init__(
        self, n_features: int, window: int, width: int, n_heads: int, n_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Linear(n_features, width)
        self.position = nn.Parameter(POSITION_DEVIATION * torch.randn(window, width))
        self.blocks = nn.Sequential(*(Block(width, n_heads, dropout) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor) -> Tensor:
        states: Tensor = self.blocks(self.embedding(z) + self.position)
        return cast(Tensor, self.norm(states[:, -1]))


def _build(n_features: int, window: int, chosen: Mapping[str, Json]) -> Body:
    width, n_heads, n_layers = (integer(chosen, n) for n in ("hidden", "heads", "layers"))
    if width % n_heads:
        raise ParameterError("heads", n_heads, f"a divisor of hidden={width}")
    return Encoder(n_features, window, width, n_heads, n_layers, real(chosen, "dropout"))


TRANSFORMER = Network("transformer", 32, SPACES["transformer"], _build)
