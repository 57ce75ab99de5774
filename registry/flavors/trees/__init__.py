"""Trees: an ensemble read out of its library's file, as plain arrays.

Flavors that hold trees (`onnx`) are written from this and not through converters. Converters have
ignored the estimated intercept of XGBoost 3, or mixed up binary margins. One file per library reads
its format and refuses what it does not understand. Thresholds are float32. Each is rounded in the
direction that keeps the result of the library's own comparison with a float32 feature. So a flavor
that follows `mode`, and `nan_left` for NaN, is exact by construction.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LESS, LESS_EQUAL, GREATER, EQUAL = range(4)
"""Values of `TreeEnsemble.mode`: how a feature is compared with `value` to go left."""


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """A sum of trees: `scores[k] = base[k] + sum of column k of the leaves that a row reaches`.

    One entry per node, trees one after another, a tree's root first (node 0 of its tree); all
    arrays have the number of nodes as length except `base` (n_scores,) and `leaf`
    (n_nodes, n_scores). `left` and `right` are node numbers within the tree, -1 at a leaf, and
    more than one node may lead to the same child (a set of categories is a chain of EQUAL
    nodes). `value` is the threshold at a split. `leaf` is NaN in a column that a leaf adds
    nothing to, and at splits.
    """

    n_features: int
    base: NDArray[np.float32]
    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    mode: NDArray[np.int8]
    value: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    nan_left: NDArray[np.bool_]
    leaf: NDArray[np.float32]

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return self.left < 0


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each threshold: for float32 x, x <= t as x <= result."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


class TreeNodes:
    """Collects the nodes of one ensemble, tree by tree; children are added after their parent."""

    def __init__(self, n_features: int, n_scores: int) -> None:
        self._n_features, self._n_scores = n_features, n_scores
        self._rows: list[list[float]] = []
        self._leaves: list[NDArray[np.float32]] = []
        self._tree, self._first = -1, 0

    def start_tree(self) -> None:
        """Begin the next tree; its first node is its root."""
        self._tree, self._first = self._tree + 1, len(self._rows)

    def add_split(self, feature: int, mode: int, value: float, nan_left: bool) -> int:
        """Add a split whose children are not known yet; return its number within the tree."""
        return self._add([feature, mode, value, 0, 0, nan_left], {})

    def add_leaf(self, addends: dict[int, float]) -> int:
        """Add a leaf: score number -> addend; return its number within the tree."""
        return self._add([0, LESS, 0.0, -1, -1, False], addends)

    def connect(self, node: int, left: int, right: int) -> None:
        """Name a split's children."""
        self._rows[self._first + node][5:7] = [left, right]

    def add_membership(self, feature: int, categories: list[int], nan_in: bool) -> list[int]:
        """Add a chain of EQUAL nodes, one per category; each but the last has its right child.

        A member goes left at the node of its category, everything else falls through to the right
        of the last node. Connect every node's left child, and both of the last one's.
        """
        chain = [
            self.add_split(feature, EQUAL, float(code), nan_in and at == 0)
            for at, code in enumerate(categories)
        ]
        for here, following in pairwise(chain):
            self.connect(here, 0, following)
        return chain

    def connect_chain(self, chain: list[int], member: int, other: int) -> None:
        """Lead members to one child and everything else to the other."""
        for here, following in zip(chain, [*chain[1:], other], strict=True):
            self.connect(here, member, following)

    def ensemble(self, base: NDArray[np.float32]) -> TreeEnsemble:
        """Return the collected nodes as an ensemble."""
        columns = np.array(self._rows, np.float64).T
        whole = {
            name: columns[at].astype(np.int64)
            for at, name in ((0, "tree"), (1, "node"), (2, "feature"), (5, "left"), (6, "right"))
        }
        return TreeEnsemble(
            n_features=self._n_features,
            base=base,
            mode=columns[3].astype(np.int8),
            value=columns[4].astype(np.float32),
            nan_left=columns[7].astype(np.bool_),
            leaf=np.stack(self._leaves),
            **whole,
        )

    def _add(self, facts: list[float], addends: dict[int, float]) -> int:
        number = len(self._rows) - self._first
        leaf = np.full(self._n_scores, np.nan, np.float32)
        for score, addend in addends.items():
            leaf[score] = addend
        self._rows.append([self._tree, number, *facts])
        self._leaves.append(leaf)
        return number
