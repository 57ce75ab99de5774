"""Descent: trees inside an ML Program, all rows down all trees at once, a level per step.

An ML Program has no operation for trees. Node numbers run over all trees; at each level the
features that the nodes ask for are gathered, compared, and the children taken. A leaf is its own
child, so that shallow trees wait for deep ones. The sum over the leaves is the ensemble's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnsupportedModelError

LEAVES = "leaves"
"""The names of the operations that gather and add up leaves begin with this."""
_MODE = "BRANCH_LEQ"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Every node of every tree, (n_nodes,); at a leaf the three children are the leaf itself.

    `left`, `right` and `missing` (where NaN goes) number the children over all trees. `leaf` is
    float32 (n_nodes, n_scores), 0 where nothing is added, and `root` (n_trees,).
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    value: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing: NDArray[np.int32]
    leaf: NDArray[np.float32]

    @property
    def depth(self) -> int:
        """How many splits lie between the roots and the deepest leaf."""
        at, depth = np.unique(self.root), 0
        while True:
            below = np.unique(np.concatenate([self.left[at], self.right[at], self.missing[at]]))
            if np.array_equal(below, at):
                return depth
            at, depth = below, depth + 1


def read_nodes(attributes: Mapping[str, Any]) -> Nodes:
    """Return the nodes of a TreeEnsembleRegressor.

    Raises:
        UnsupportedModelError: a split that is not `<=`.
    """
    modes = attributes["nodes_modes"]
    if others := {*modes} - {_MODE, "LEAF"}:
        raise UnsupportedModelError("coreml", "arrays", f"splits {sorted(others)} are not {_MODE}")
    trees, numbers = attributes["nodes_treeids"], attributes["nodes_nodeids"]
    place = {key: at for at, key in enumerate(zip(trees, numbers, strict=True))}
    here = np.arange(len(modes))
    is_leaf = np.array([mode == "LEAF" for mode in modes])

    def children(name: str) -> NDArray[Any]:
        found = [place.get(key, 0) for key in zip(trees, attributes[name], strict=True)]
        return np.where(is_leaf, here, found).astype(np.int32)

    left, right = children("nodes_truenodeids"), children("nodes_falsenodeids")
    goes_left = np.array(attributes["nodes_missing_value_tracks_true"], np.bool_)
    leaf = np.zeros((len(modes), attributes["n_targets"]), np.float32)
    ends = zip(attributes["target_treeids"], attributes["target_nodeids"], strict=True)
    leaf[[place[key] for key in ends], attributes["target_ids"]] = attributes["target_weights"]
    return Nodes(
        root=np.flatnonzero(np.array(numbers) == 0).astype(np.int32),
        feature=np.array(attributes["nodes_featureids"], np.int32),
        value=np.array(attributes["nodes_values"], np.float32),
        left=left,
        right=right,
        missing=np.where(goes_left, left, right),
        leaf=leaf,
    )


def add_descent(mb: Any, attributes: Mapping[str, Any], features: Any) -> Any:
    """Add the operations of a TreeEnsembleRegressor; return its sums (n, n_scores)."""
    nodes = read_nodes(attributes)
    at: Any = nodes.root[None]
    for _ in range(max(nodes.depth, 1)):  # the first step gives the tensor its rows, even of leaves
        at = _step(mb, nodes, features, at)
    reached = mb.gather(x=nodes.leaf, indices=at, axis=0, name=f"{LEAVES}_reached")
    total = mb.reduce_sum(x=reached, axes=[1], keep_dims=False, name=f"{LEAVES}_total")
    return mb.add(x=total, y=np.array(attributes["base_values"], np.float32))


def _step(mb: Any, nodes: Nodes, features: Any, at: Any) -> Any:
    """Return the children of nodes: constants (1, n_trees) at first, then a tensor (n, n_trees)."""
    x = _asked(mb, nodes, features, at)
    goes_left = mb.less_equal(x=x, y=_take(mb, nodes.value, at))
    below = _choose(mb, goes_left, _take(mb, nodes.left, at), _take(mb, nodes.right, at))
    if np.array_equal(nodes.missing, nodes.right):  # NaN is not <= anything
        return below
    is_missing = mb.not_equal(x=x, y=x)
    return mb.select(cond=is_missing, a=_take(mb, nodes.missing, at), b=below)


def _choose(mb: Any, cond: Any, a: Any, b: Any) -> Any:
    """Return a or b, int32, by rows of `cond`; `select` gives no more rows than a and b have."""
    if isinstance(a, np.ndarray):
        return mb.add(x=b, y=mb.mul(x=mb.cast(x=cond, dtype="int32"), y=a - b))
    return mb.select(cond=cond, a=a, b=b)


def _asked(mb: Any, nodes: Nodes, features: Any, at: Any) -> Any:
    """Return the feature that each node asks for, (n, n_trees)."""
    if isinstance(at, np.ndarray):
        return mb.gather(x=features, indices=nodes.feature[at[0]], axis=1)
    return mb.gather_along_axis(x=features, indices=_take(mb, nodes.feature, at), axis=1)


def _take(mb: Any, table: NDArray[Any], at: Any) -> Any:
    return table[at] if isinstance(at, np.ndarray) else mb.gather(x=table, indices=at, axis=0)
