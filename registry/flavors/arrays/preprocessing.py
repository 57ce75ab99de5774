"""Preprocessing: what an array model does to features before its formula.

A missing value becomes the training mean, and a value beyond a bound becomes the bound. Then every
feature is shifted and scaled: z = (clip(x) - shift) * scale. All of it is part of the model, so
every flavor carries it. The bounds keep scores finite for every float32 input.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays import StoredArrays
from registry.flavors.graphs import Graph

_NAMES = ("fill", "low", "high", "shift", "scale")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Per feature, all float32 (n_features,)."""

    fill: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def read(cls, stored: StoredArrays) -> "Preprocessing":
        """Return the preprocessing stored under the names of the fields."""
        fill = stored.take("fill", np.float32, None)
        return cls(fill, *(stored.take(name, np.float32, len(fill)) for name in _NAMES[1:]))

    @property
    def n_features(self) -> int:
        """How many features there are."""
        return len(self.fill)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        return {name: getattr(self, name) for name in _NAMES}

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return z, float32, of the shape of the features (..., n_features)."""
        known = np.where(np.isnan(features), self.fill, features)
        z = (np.minimum(np.maximum(known, self.low), self.high) - self.shift) * self.scale
        return np.asarray(z, np.float32)

    def add_to(self, graph: Graph, features: str) -> str:
        """Add the same operations; return the tensor of z."""
        missing = graph.add("IsNaN", features)
        known = graph.add("Where", missing, self.fill, features)
        bounded = graph.add("Min", graph.add("Max", known, self.low), self.high)
        return graph.add("Mul", graph.add("Sub", bounded, self.shift), self.scale)
