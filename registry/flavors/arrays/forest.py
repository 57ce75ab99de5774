"""Array model `forest`: a sum of trees, and a link from the sum to the scores.

Links: `identity` (the sum: means of a random forest, margins of boosted trees), `log` (the sum is
a probability, the score its logarithm) and `isolation` (the sum is the mean path length in units
of its expectation, the score 2^-sum in (0, 1); Liu, Ting & Zhou 2008, equation 2).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError
from registry.flavors.arrays import StoredArrays
from registry.flavors.graphs import Graph
from registry.flavors.trees import LESS_EQUAL, TreeEnsemble
from registry.flavors.trees.nodes import add_trees

IDENTITY, LOG, ISOLATION = range(3)
LEAST = np.float32(1e-12)
"""A probability below this is taken for this, so that its logarithm is finite."""
CHUNK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees one after another; `root` (n_trees,) says where each tree begins.

    Per node: `feature`, `value` and `nan_left` of its split (`x <= value` goes left), `left` and
    `right` (node numbers over all trees, both the node itself at a leaf), and `leaf`
    (n_nodes, n_scores), what a leaf adds. `base` (n_scores,) is added once.
    """

    name: ClassVar[str] = "forest"

    n_features: int
    root: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    nan_left: NDArray[np.int64]
    leaf: NDArray[np.float32]
    base: NDArray[np.float32]
    link: int = IDENTITY

    @classmethod
    def read(cls, stored: StoredArrays) -> "Forest":
        """Return the model of these arrays."""
        n_features = int(stored.take_index("n_features", 1, 2**31, 1)[0])
        leaf = stored.take("leaf", np.float32, None, None)
        n_nodes, n_scores = leaf.shape
        model = cls(
            n_features=n_features,
            root=stored.take_index("root", 0, n_nodes, None),
            feature=stored.take_index("feature", 0, n_features, n_nodes),
            value=stored.take("value", np.float32, n_nodes),
            left=stored.take_index("left", 0, n_nodes, n_nodes),
            right=stored.take_index("right", 0, n_nodes, n_nodes),
            nan_left=stored.take_index("nan_left", 0, 2, n_nodes),
            leaf=leaf,
            base=stored.take("base", np.float32, n_scores),
            link=int(stored.take_index("link", IDENTITY, ISOLATION + 1, 1)[0]),
        )
        model._check_descent()
        return model

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(feature,)`."""
        return (self.n_features,)

    @property
    def n_scores(self) -> int:
        """How many scores a row gets."""
        return len(self.base)

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return np.asarray(self.left == np.arange(len(self.left)))

    def splits(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return feature and threshold of every split."""
        inner = ~self.is_leaf
        return self.feature[inner], self.value[inner]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        names = ("root", "feature", "value", "left", "right", "nan_left", "leaf", "base")
        whole = {name: getattr(self, name) for name in names}
        n_features = np.array([self.n_features], np.int64)
        return {**whole, "n_features": n_features, "link": np.array([self.link], np.int64)}

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores (n, n_scores) for features (n, n_features)."""
        starts = range(0, len(features), CHUNK_ROWS)
        sums = [self._sum(features[at : at + CHUNK_ROWS]) for at in starts]
        total = np.concatenate([np.empty((0, self.n_scores), np.float32), *sums])
        if self.link == LOG:
            return np.asarray(np.log(np.maximum(total, LEAST)))
        return np.asarray(np.exp2(-total)) if self.link == ISOLATION else total

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the same operations."""
        if self.link == IDENTITY:
            add_trees(graph, self._ensemble(), features, scores)
            return
        add_trees(graph, self._ensemble(), features, "sums")
        if self.link == LOG:
            graph.add("Log", graph.add("Max", "sums", np.array([LEAST])), output=scores)
        else:
            two = np.array([2.0], np.float32)
            graph.add("Pow", two, graph.add("Neg", "sums"), output=scores)

    def _sum(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Follow every row down every tree at once, one level per step."""
        rows = np.arange(len(features))[:, None]
        at = np.broadcast_to(self.root, (len(features), len(self.root)))
        while True:
            x = features[rows, self.feature[at]]
            goes_left = np.where(np.isnan(x), self.nan_left[at] == 1, x <= self.value[at])
            below = np.where(goes_left, self.left[at], self.right[at])
            if np.array_equal(below, at):
                break
            at = below
        return np.asarray(self.base + self.leaf[at].sum(axis=1, dtype=np.float64), np.float32)

    def _check_descent(self) -> None:
        """Refuse a child that does not lie below its parent: a walk would never end."""
        here = np.arange(len(self.left))
        leaf = (self.left == here) & (self.right == here)
        if not (leaf | ((self.left > here) & (self.right > here))).all():
            raise UnreadableArtifactError("native", "a tree's child is not below its parent")

    def _ensemble(self) -> TreeEnsemble:
        tree = np.searchsorted(self.root, np.arange(len(self.left)), side="right") - 1
        first, leaf = self.root[tree], self.is_leaf
        return TreeEnsemble(
            n_features=self.n_features,
            base=self.base,
            tree=tree,
            node=np.arange(len(tree)) - first,
            feature=self.feature,
            mode=np.full(len(tree), LESS_EQUAL, np.int8),
            value=self.value,
            left=np.where(leaf, -1, self.left - first),
            right=np.where(leaf, -1, self.right - first),
            nan_left=self.nan_left == 1,
            leaf=np.where(leaf[:, None], self.leaf, np.float32(np.nan)),
        )
