"""Tree arrays: scikit-learn's trees as the arrays of `registry.flavors.arrays.forest`.

scikit-learn compares `x <= threshold` with float32 features and float64 thresholds; rounded down
to float32, a threshold decides the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.flavors.arrays.forest import Forest
from registry.flavors.trees import round_down


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: per node its split, its children (-1 at a leaf), `leaf` (n_nodes, n_scores).

    `mass` is the weight of the training rows in each node.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    nan_left: NDArray[np.bool_]
    leaf: NDArray[np.float64]
    mass: NDArray[np.float64]

    def with_leaf(self, leaf: NDArray[np.float64]) -> "Tree":
        """Return the tree with other leaves."""
        return replace(self, leaf=leaf)


def library_tree(found: Any) -> Tree:
    """Return scikit-learn's `Tree`; its values are means, or shares of classes."""
    return Tree(
        feature=found.feature.astype(np.int64),
        threshold=found.threshold.astype(np.float64),
        left=found.children_left.astype(np.int64),
        right=found.children_right.astype(np.int64),
        nan_left=found.missing_go_to_left.astype(np.bool_),
        leaf=found.value[:, 0, :].astype(np.float64),
        mass=found.weighted_n_node_samples.astype(np.float64),
    )


def boosted_tree(nodes: NDArray[Any], spread: Mapping[int, float], n_scores: int) -> Tree:
    """Return a tree of histogram gradient boosting.

    Args:
        nodes: the library's structured array, one entry per node.
        spread: score number -> factor of the leaf's value there.
    """
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    leaf = np.zeros((len(nodes), n_scores))
    for score, factor in spread.items():
        leaf[:, score] = np.where(is_leaf, nodes["value"], 0.0) * factor
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        nan_left=nodes["missing_go_to_left"].astype(np.bool_),
        leaf=leaf,
        mass=nodes["count"].astype(np.float64),
    )


def forest_of(
    trees: Sequence[Tree],
    n_features: int,
    base: NDArray[np.float64],
    link: int,
    share: float = 1.0,
) -> Forest:
    """Return the trees one after another.

    Args:
        share: what every leaf is multiplied by (1 / number of trees gives their mean).
    """
    sizes = np.array([len(tree.left) for tree in trees])
    root = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    offset, here = np.repeat(root, sizes), np.arange(sizes.sum())
    left, right = (np.concatenate([getattr(t, side) for t in trees]) for side in ("left", "right"))
    is_leaf = left < 0
    threshold = np.concatenate([tree.threshold for tree in trees])
    return Forest(
        n_features=n_features,
        root=root,
        feature=np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])),
        value=round_down(np.where(is_leaf, 0.0, threshold)),
        left=np.where(is_leaf, here, left + offset),
        right=np.where(is_leaf, here, right + offset),
        nan_left=np.concatenate([tree.nan_left for tree in trees]).astype(np.int64),
        leaf=(np.concatenate([tree.leaf for tree in trees]) * share).astype(np.float32),
        base=base.astype(np.float32),
        link=link,
    )
