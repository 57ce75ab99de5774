"""Array model `scenarios`: scores are a portfolio's losses, one matrix product of its weights."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays import StoredArrays
from registry.flavors.graphs import Graph


@dataclass(frozen=True, slots=True)
class Scenarios:
    """`losses` is float32 (n_scenarios, n_symbols): what a weight of 1 loses in each scenario."""

    name: ClassVar[str] = "scenarios"

    losses: NDArray[np.float32]

    @classmethod
    def read(cls, stored: StoredArrays) -> "Scenarios":
        """Return the model of these arrays."""
        return cls(stored.take("losses", np.float32, None, None))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(symbol,)`."""
        return (self.losses.shape[1],)

    @property
    def n_scores(self) -> int:
        """How many scenarios there are."""
        return len(self.losses)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the one array."""
        return {"losses": self.losses}

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return losses (n, n_scenarios) for weights (n, n_symbols)."""
        return np.asarray(features @ self.losses.T, np.float32)

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the product."""
        graph.add("MatMul", features, np.ascontiguousarray(self.losses.T), output=scores)
