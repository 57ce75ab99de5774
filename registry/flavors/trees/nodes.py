"""Trees as one ONNX node: TreeEnsembleRegressor, onnxruntime's fast path for ensembles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.flavors.graphs import TREE_DOMAIN, Graph
from registry.flavors.trees import EQUAL, GREATER, LESS, LESS_EQUAL, TreeEnsemble

_MODES = {
    LESS: "BRANCH_LT",
    LESS_EQUAL: "BRANCH_LEQ",
    GREATER: "BRANCH_GT",
    EQUAL: "BRANCH_EQ",
}


def add_trees(graph: Graph, trees: TreeEnsemble, features: str, scores: str) -> None:
    """Add the node. Child numbers at a leaf are 0 and are never read."""
    leaf = trees.is_leaf
    names = np.array([_MODES[mode] for mode in sorted(_MODES)])
    rows, columns = np.nonzero(leaf[:, None] & ~np.isnan(trees.leaf))
    attributes: dict[str, Any] = {
        "n_targets": len(trees.base),
        "base_values": trees.base.tolist(),
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": trees.tree.tolist(),
        "nodes_nodeids": trees.node.tolist(),
        "nodes_featureids": _inner(trees.feature, leaf),
        "nodes_modes": np.where(leaf, "LEAF", names[trees.mode]).tolist(),
        "nodes_values": _inner(trees.value, leaf),
        "nodes_truenodeids": _inner(trees.left, leaf),
        "nodes_falsenodeids": _inner(trees.right, leaf),
        "nodes_missing_value_tracks_true": trees.nan_left.astype(np.int64).tolist(),
        "target_treeids": trees.tree[rows].tolist(),
        "target_nodeids": trees.node[rows].tolist(),
        "target_ids": columns.tolist(),
        "target_weights": trees.leaf[rows, columns].tolist(),
    }
    graph.add("TreeEnsembleRegressor", features, domain=TREE_DOMAIN, output=scores, **attributes)


def _inner(values: NDArray[Any], leaf: NDArray[np.bool_]) -> list[Any]:
    zeros = np.zeros_like(values)
    return list(np.where(leaf, zeros, values).tolist())
