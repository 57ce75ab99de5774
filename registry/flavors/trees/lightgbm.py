"""LightGBM's model text: opened as a Booster, read as arrays.

LightGBM compares double precision numbers, `x <= threshold` goes left; for float32 features the
threshold rounded down to float32 decides the same, once values within 1e-35 of 0 are 0. A set of
categories goes left, and a missing or unseen category goes right. Where training saw no missing
value, LightGBM reads NaN as 0.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors.trees import LESS_EQUAL, TreeEnsemble, TreeNodes, round_down

if TYPE_CHECKING:
    import lightgbm as lgb

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold; features that are mostly 0 are split at it and at its negative."""
_OBJECTIVES = ("regression", "gamma", "multiclass")
"""Objectives whose raw score is the margin that templates decode."""


def open_lightgbm(payload: bytes) -> "lgb.Booster":
    """Return the Booster of a LightGBM model text.

    Raises:
        UnreadableArtifactError: the bytes are not a whole LightGBM model.
    """
    import lightgbm as lgb

    if fault := find_fault(payload):
        raise UnreadableArtifactError("native", fault)
    try:
        return lgb.Booster(model_str=payload.decode())
    except (lgb.basic.LightGBMError, ValueError, KeyError) as exc:
        raise UnreadableArtifactError("native", "LightGBM cannot parse it") from exc


def find_fault(payload: bytes) -> str | None:
    """Check the structure of a model text; return the fault, None when there is none.

    The text says how many bytes each tree takes; LightGBM itself reads a file that was cut short
    without complaint as fewer trees.
    """
    if not payload.startswith(b"tree\n"):
        return "not a LightGBM model text"
    header, separator, _ = payload.partition(b"\n\nTree=0\n")
    trees_end = payload.find(b"end of trees\n")
    if not separator or trees_end < 0 or b"\nend of parameters\n" not in payload[trees_end:]:
        return f"cut short at {len(payload)} bytes"
    sizes = [line for line in header.split(b"\n") if line.startswith(b"tree_sizes=")]
    try:
        announced = sum(int(size) for size in sizes[0].partition(b"=")[2].split())
    except (IndexError, ValueError):
        return "it does not say how long its trees are"
    found = trees_end - (len(header) + 2)
    return None if found == announced else f"trees of {found} bytes, {announced} announced"


def read_lightgbm(payload: bytes, flavor: str) -> TreeEnsemble:
    """Return the trees of a LightGBM model text.

    Args:
        flavor: the flavor to be written, for the error messages.

    Raises:
        UnreadableArtifactError: the bytes are not a LightGBM model.
        UnsupportedModelError: linear trees, zero as missing, averaged output (random forest mode),
            or an objective whose raw score is not known here.
    """
    model = open_lightgbm(payload).dump_model()
    objective = str(model.get("objective", "")).partition(" ")[0]
    if objective not in _OBJECTIVES:
        known = ", ".join(_OBJECTIVES)
        raise UnsupportedModelError(
            flavor, "lightgbm", f"objective {objective!r} is not in: {known}"
        )
    if model.get("average_output"):
        raise UnsupportedModelError(flavor, "lightgbm", "it averages its trees")
    n_scores = int(model["num_tree_per_iteration"])
    nodes = TreeNodes(int(model["max_feature_idx"]) + 1, n_scores)
    for number, tree in enumerate(model["tree_info"]):
        nodes.start_tree()
        _add_subtree(nodes, tree["tree_structure"], number % n_scores, flavor)
    return nodes.ensemble(np.zeros(n_scores, np.float32))


def _compared_with(threshold: float) -> float:
    """Return the threshold that decides as LightGBM does, which reads |x| <= 1e-35 as 0."""
    if -ZERO <= threshold < 0:
        return float(np.nextafter(np.float32(-ZERO), np.float32(-np.inf)))
    return ZERO if 0 <= threshold < ZERO else threshold


def _add_subtree(nodes: TreeNodes, found: dict[str, Any], score: int, flavor: str) -> int:
    """Add a node and what lies below it; return its number. Recursion is as deep as the tree."""
    if "leaf_coeff" in found:
        raise UnsupportedModelError(flavor, "lightgbm", "its leaves are linear models")
    if "split_index" not in found:
        return nodes.add_leaf({score: float(found["leaf_value"])})
    if found["missing_type"] == "Zero":
        raise UnsupportedModelError(flavor, "lightgbm", "it treats zero as missing")
    feature, left, right = int(found["split_feature"]), found["left_child"], found["right_child"]
    if found["decision_type"] == "==":
        members = [int(code) for code in str(found["threshold"]).split("||")]
        chain = nodes.add_membership(feature, members, nan_in=False)
        member = _add_subtree(nodes, left, score, flavor)
        nodes.connect_chain(chain, member, _add_subtree(nodes, right, score, flavor))
        return chain[0]
    threshold = float(found["threshold"])
    nan_left = bool(found["default_left"]) if found["missing_type"] == "NaN" else threshold >= 0
    value = float(round_down(np.array([_compared_with(threshold)]))[0])
    node = nodes.add_split(feature, LESS_EQUAL, value, nan_left)
    first = _add_subtree(nodes, left, score, flavor)
    nodes.connect(node, first, _add_subtree(nodes, right, score, flavor))
    return node
