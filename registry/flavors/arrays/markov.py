"""Array model `hmm`: the filtered states of a Gaussian hidden Markov model over a window.

The window's oldest step starts from the stationary distribution; each further step is one
prediction and one update (Hamilton 1994, equations 22.4.5 and 22.4.6), in logarithms:
a_t[k] = log b_k(z_t) + log sum_j exp(a_(t-1)[j]) A[j, k], normalised at every step. Scores are the
log probabilities of the newest step given the window up to it; nothing is smoothed.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays import StoredArrays
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.graphs import Graph

AXIS_1, LAST = np.array([1], np.int64), np.array([-1], np.int64)


@dataclass(frozen=True, slots=True)
class MarkovFilter:
    """K states over `window` steps of F features, all float32.

    `start` (K,) and `transition` (K, K; from row to column) are log probabilities. `whiten`
    (F, K * F) holds the factors L_k of the precisions side by side (P_k = L_k L_k'), `centre`
    (K, F) the means times L_k, and `level` (K,) the log of the densities' constants: log b_k(z) =
    level[k] - |z L_k - centre[k]|^2 / 2.
    """

    name: ClassVar[str] = "hmm"

    window: int
    preprocessing: Preprocessing
    start: NDArray[np.float32]
    transition: NDArray[np.float32]
    whiten: NDArray[np.float32]
    centre: NDArray[np.float32]
    level: NDArray[np.float32]

    @classmethod
    def read(cls, stored: StoredArrays) -> "MarkovFilter":
        """Return the model of these arrays."""
        preprocessing = Preprocessing.read(stored)
        start = stored.take("start", np.float32, None)
        n_states, n_features = len(start), preprocessing.n_features
        return cls(
            window=int(stored.take_index("window", 1, 2**16, 1)[0]),
            preprocessing=preprocessing,
            start=start,
            transition=stored.take("transition", np.float32, n_states, n_states),
            whiten=stored.take("whiten", np.float32, n_features, n_states * n_features),
            centre=stored.take("centre", np.float32, n_states, n_features),
            level=stored.take("level", np.float32, n_states),
        )

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(step, feature)`."""
        return (self.window, self.preprocessing.n_features)

    @property
    def n_scores(self) -> int:
        """How many states there are."""
        return len(self.start)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        names = ("start", "transition", "whiten", "centre", "level")
        whole = {name: getattr(self, name) for name in names}
        return {**self.preprocessing.arrays(), **whole, "window": np.array([self.window], np.int64)}

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log filtered probabilities (n, K) for windows (n, window, F)."""
        if len(features) == 0:
            return np.empty((0, self.n_scores), np.float32)
        density = self.log_densities(features)
        state = _normalised(density[:, 0] + self.start)
        for step in range(1, self.window):
            ahead = _log_sum(state[:, :, None] + self.transition.astype(np.float64), 1)
            state = _normalised(density[:, step] + ahead)
        return np.asarray(state, np.float32)

    def log_densities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log b_k, float64 (..., K), for features (..., F)."""
        z = self.preprocessing(features).astype(np.float64)
        turned = (z @ self.whiten.astype(np.float64)).reshape(*z.shape[:-1], *self.centre.shape)
        return np.asarray(self.level - 0.5 * ((turned - self.centre) ** 2).sum(axis=-1))

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the same operations, the recursion written out step by step."""
        z = self.preprocessing.add_to(graph, features)
        shape = np.array([-1, self.window, *self.centre.shape], np.int64)
        turned = graph.add("Reshape", graph.add("MatMul", z, self.whiten), shape)
        away = graph.add("Sub", turned, self.centre)
        square = graph.add("ReduceSumSquare", away, LAST, keepdims=0)
        half = graph.add("Mul", square, np.array([-0.5], np.float32))
        density = graph.add("Add", half, self.level)
        transition = graph.constant(self.transition)
        state = self._step(graph, density, 0, graph.constant(self.start))
        for step in range(1, self.window):
            spread = graph.add("Add", graph.add("Unsqueeze", state, LAST), transition)
            ahead = graph.add("ReduceLogSumExp", spread, AXIS_1, keepdims=0)
            state = self._step(graph, density, step, ahead)
        graph.add("Identity", state, output=scores)

    def _step(self, graph: Graph, density: str, step: int, ahead: str) -> str:
        now = graph.add("Gather", density, np.array(step, np.int64), axis=1)
        joint = graph.add("Add", now, ahead)
        return graph.add("LogSoftmax", joint, axis=1)


def _log_sum(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    top = values.max(axis=axis, keepdims=True)
    return np.asarray(np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis=axis)))


def _normalised(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(joint - _log_sum(joint, 1)[:, None])
