"""XGBoost's UBJSON: opened as a Booster, read as arrays.

XGBoost compares float32 numbers, `x < threshold` goes left; a set of categories goes right, and a
category that training never saw goes left. The arrays say exactly that.
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors.trees import LESS, TreeEnsemble, TreeNodes
from registry.flavors.ubjson import find_fault

if TYPE_CHECKING:
    import xgboost as xgb

_IDENTITY = ("reg:squarederror", "multi:softprob")  # base_score is already a margin
_LOG = ("reg:gamma",)  # base_score is the mean


def open_booster(payload: bytes) -> "xgb.Booster":
    """Return the Booster of an XGBoost UBJSON file.

    Raises:
        UnreadableArtifactError: the bytes are not an XGBoost model.
    """
    import xgboost as xgb

    if fault := find_fault(payload):
        raise UnreadableArtifactError("native", fault)
    try:
        return xgb.Booster(model_file=bytearray(payload))
    except (xgb.core.XGBoostError, ValueError) as exc:
        raise UnreadableArtifactError("native", "XGBoost cannot parse it") from exc


def read_xgboost(payload: bytes, flavor: str) -> TreeEnsemble:
    """Return the trees of an XGBoost UBJSON file.

    Args:
        flavor: the flavor to be written, for the error messages.

    Raises:
        UnreadableArtifactError: the bytes are not an XGBoost model.
        UnsupportedModelError: dart, linear boosters, vector leaves, or an objective whose margin
            is not known here.
    """
    booster = open_booster(payload)
    learner = json.loads(booster.save_raw("json"))["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        name = learner["gradient_booster"]["name"]
        raise UnsupportedModelError(flavor, "xgboost", f"booster {name!r} is not gbtree")
    model = learner["gradient_booster"]["model"]
    if not model["trees"]:
        raise UnsupportedModelError(flavor, "xgboost", "it has no trees")
    for tree in model["trees"]:
        _refuse_unknown(tree, flavor)
    return _ensemble(learner, model, flavor)


def _refuse_unknown(tree: dict[str, Any], flavor: str) -> None:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise UnsupportedModelError(flavor, "xgboost", "its leaves are vectors")


def _ensemble(learner: dict[str, Any], model: dict[str, Any], flavor: str) -> TreeEnsemble:
    base = _base_margins(learner, flavor)
    nodes = TreeNodes(int(learner["learner_model_param"]["num_feature"]), len(base))
    for tree, score in zip(model["trees"], model["tree_info"], strict=True):
        nodes.start_tree()
        _add_subtree(nodes, tree, 0, int(score), _category_sets(tree))
    return nodes.ensemble(base)


def _category_sets(tree: dict[str, Any]) -> dict[int, list[int]]:
    """Return node -> the categories that go right."""
    starts, sizes = tree["categories_segments"], tree["categories_sizes"]
    spans = zip(tree["categories_nodes"], starts, sizes, strict=True)
    return {node: tree["categories"][start : start + size] for node, start, size in spans}


def _add_subtree(
    nodes: TreeNodes, tree: dict[str, Any], at: int, score: int, sets: dict[int, list[int]]
) -> int:
    """Add a node and what lies below it; return its number (nodes that pruning cut off are gone).

    Recursion is as deep as the tree.
    """
    left, right = int(tree["left_children"][at]), int(tree["right_children"][at])
    value = float(tree["split_conditions"][at])
    if left < 0:
        return nodes.add_leaf({score: value})
    feature, goes_left = int(tree["split_indices"][at]), bool(tree["default_left"][at])
    if at in sets:
        chain = nodes.add_membership(feature, sets[at], nan_in=not goes_left)
        member = _add_subtree(nodes, tree, right, score, sets)
        nodes.connect_chain(chain, member, _add_subtree(nodes, tree, left, score, sets))
        return chain[0]
    node = nodes.add_split(feature, LESS, value, goes_left)
    first = _add_subtree(nodes, tree, left, score, sets)
    nodes.connect(node, first, _add_subtree(nodes, tree, right, score, sets))
    return node


def _base_margins(learner: dict[str, Any], flavor: str) -> NDArray[np.float32]:
    """Return the intercepts as margins; XGBoost 3 stores one per score, in the target's space."""
    objective = learner["objective"]["name"]
    stored = json.loads(learner["learner_model_param"]["base_score"])
    base = np.atleast_1d(np.asarray(stored, np.float32))
    counts = learner["learner_model_param"]
    n_scores = max(1, int(counts["num_class"]), int(counts["num_target"]))
    base = np.ascontiguousarray(np.broadcast_to(base, (n_scores,)))
    if objective in _LOG:
        return np.log(base)
    if objective in _IDENTITY:
        return base
    known = ", ".join((*_IDENTITY, *_LOG))
    raise UnsupportedModelError(flavor, "xgboost", f"objective {objective!r} is not in: {known}")
