"""Array model `clusters`: a state weighs less the farther its nearest centre is.

scores[k] = max over the centres c of state k of offset[c] - |z - c|^2 * sharpness. With one centre
per state this is a mixture of round Gaussians of equal width (k-means). With the core points of
dense clusters as centres it is DBSCAN; one more state has a constant log weight, for rows far from
all of them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError
from registry.flavors.arrays import StoredArrays
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.graphs import Graph

CHUNK_ROWS = 1024
NOBODY = -1
"""Stands for "no such state" when every state has centres."""


@dataclass(frozen=True, slots=True)
class ClusterStates:
    """`centre` is float32 (n_centres, n_features), sorted by `state` (n_centres,).

    `offset` is float32 (n_centres,), `sharpness` float32 (1,) above 0. `far` (1,) is the number of
    the state without centres, or -1; its score is always `far_level` (1,).
    """

    name: ClassVar[str] = "clusters"

    preprocessing: Preprocessing
    centre: NDArray[np.float32]
    state: NDArray[np.int64]
    offset: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    far: NDArray[np.int64]
    far_level: NDArray[np.float32]

    @classmethod
    def read(cls, stored: StoredArrays) -> "ClusterStates":
        """Return the model of these arrays."""
        preprocessing = Preprocessing.read(stored)
        centre = stored.take("centre", np.float32, None, preprocessing.n_features)
        n_centres = len(centre)
        model = cls(
            preprocessing=preprocessing,
            centre=centre,
            state=stored.take_index("state", 0, n_centres + 1, n_centres),
            offset=stored.take("offset", np.float32, n_centres),
            sharpness=stored.take("sharpness", np.float32, 1),
            far=stored.take_index("far", NOBODY, n_centres + 1, 1),
            far_level=stored.take("far_level", np.float32, 1),
        )
        model._check_states()
        return model

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(feature,)`."""
        return (self.preprocessing.n_features,)

    @property
    def n_scores(self) -> int:
        """How many states there are."""
        return int(max(self.state[-1], self.far[0])) + 1

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        names = ("centre", "state", "offset", "sharpness", "far", "far_level")
        return {**self.preprocessing.arrays(), **{name: getattr(self, name) for name in names}}

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log weights (n, n_states) for features (n, n_features)."""
        starts = range(0, len(features), CHUNK_ROWS)
        parts = [self._log_weights(features[at : at + CHUNK_ROWS]) for at in starts]
        return np.concatenate([np.empty((0, self.n_scores), np.float32), *parts])

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the same operations, the square of the distance multiplied out."""
        z = self.preprocessing.add_to(graph, features)
        own = graph.add("ReduceSumSquare", z, np.array([1], np.int64), keepdims=1)
        product = graph.add("MatMul", z, self.centre.T * np.float32(-2))
        squares = graph.add("Add", graph.add("Add", own, product), (self.centre**2).sum(axis=1))
        distance = graph.add("Max", squares, np.zeros(1, np.float32))
        every = graph.add("Add", graph.add("Mul", distance, -self.sharpness), self.offset)
        columns = [self._column(graph, every, state) for state in range(self.n_scores)]
        graph.add_joined(columns, scores)

    def _log_weights(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        z, centre = self.preprocessing(features).astype(np.float64), self.centre.astype(np.float64)
        squares = (z * z).sum(axis=1)[:, None] - 2 * z @ centre.T + (centre * centre).sum(axis=1)
        every = np.maximum(squares, 0) * -self.sharpness + self.offset
        found = np.full((len(z), self.n_scores), self.far_level[0], np.float32)
        for state in np.unique(self.state):
            found[:, state] = every[:, self.state == state].max(axis=1)
        return found

    def _column(self, graph: Graph, every: str, state: int) -> str:
        over = np.array([1], np.int64)
        if state == self.far[0]:
            nearest = graph.add("ReduceMax", every, over, keepdims=1)
            return graph.add(
                "Add", graph.add("Mul", nearest, np.zeros(1, np.float32)), self.far_level
            )
        span = np.searchsorted(self.state, [state, state + 1])
        ends = [np.array([end], np.int64) for end in span]
        return graph.add("ReduceMax", graph.add("Slice", every, *ends, over), over, keepdims=1)

    def _check_states(self) -> None:
        """Refuse states that are not the sorted numbers from 0 on, or a width that is none."""
        far = self.far[self.far != NOBODY]
        numbers = np.union1d(self.state, far)
        if len(numbers) != numbers[-1] + 1 or (np.diff(self.state) < 0).any():
            raise UnreadableArtifactError("native", "states are not sorted numbers from 0 on")
        if np.isin(far, self.state).any():
            raise UnreadableArtifactError("native", "the state without centres has some")
        if self.sharpness[0] <= 0:
            raise UnreadableArtifactError("native", f"sharpness {self.sharpness[0]} is not above 0")
