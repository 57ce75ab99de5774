"""Array model `linear`: scores = z @ weight + bias; each z may be brought to unit length first."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays import StoredArrays
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.graphs import Graph

SHORTEST = np.float32(1e-12)
"""Rows shorter than this stay as short as they are (a text without a known word)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`weight` is float32 (n_features, n_scores), `bias` float32 (n_scores,)."""

    name: ClassVar[str] = "linear"

    preprocessing: Preprocessing
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    has_unit_rows: bool = False

    @classmethod
    def read(cls, stored: StoredArrays) -> "Linear":
        """Return the model of these arrays."""
        preprocessing = Preprocessing.read(stored)
        weight = stored.take("weight", np.float32, preprocessing.n_features, None)
        bias = stored.take("bias", np.float32, weight.shape[1])
        unit = stored.take_index("has_unit_rows", 0, 2, 1)
        return cls(preprocessing, weight, bias, bool(unit[0]))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(feature,)`."""
        return (self.preprocessing.n_features,)

    @property
    def n_scores(self) -> int:
        """How many scores a row gets."""
        return len(self.bias)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        unit = np.array([self.has_unit_rows], np.int64)
        return {
            **self.preprocessing.arrays(),
            "weight": self.weight,
            "bias": self.bias,
            "has_unit_rows": unit,
        }

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores (n, n_scores) for features (n, n_features)."""
        z = self.preprocessing(features)
        if self.has_unit_rows:
            length = np.sqrt((z * z).sum(axis=1, keepdims=True, dtype=np.float32))
            z = z / np.maximum(length, SHORTEST)
        return np.asarray(z @ self.weight + self.bias, np.float32)

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the same operations."""
        z = self.preprocessing.add_to(graph, features)
        if self.has_unit_rows:
            length = graph.add("ReduceL2", z, np.array([1], np.int64), keepdims=1)
            z = graph.add("Div", z, graph.add("Max", length, np.array([SHORTEST])))
        graph.add("Gemm", z, self.weight, self.bias, output=scores)
