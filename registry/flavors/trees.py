"""Trees: a boosted ensemble read out of its library's file, as plain arrays.

Flavors that hold trees (`onnx`) are written from this, not through converters, which have ignored
the estimated intercept of XGBoost 3 or mixed up binary margins. What is not understood is refused.
The arrays are float32 as XGBoost compares them, so that a flavor that follows
`x < threshold goes left, NaN goes where default_left says` is exact by construction.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors.ubjson import find_fault

if TYPE_CHECKING:
    import xgboost as xgb

_IDENTITY = ("reg:squarederror", "multi:softprob")  # base_score is already a margin
_LOG = ("reg:gamma",)  # base_score is the mean
_DELETED = 2**31 - 1  # feature number of a node that pruning has cut off


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """A sum of trees: `scores[k] = base[k] + sum of the leaves reached in the trees of score k`.

    One entry per node, trees one after another, a tree's root first (node 0); all arrays have the
    number of nodes as length except `base` (n_scores,). `left` and `right` are node numbers
    within the tree, -1 at a leaf; `value` is the threshold at a split and the addend at a leaf.
    """

    n_features: int
    base: NDArray[np.float32]
    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    score: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    default_left: NDArray[np.bool_]

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return self.left < 0


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
        UnsupportedModelError: dart, linear boosters, categorical splits, vector leaves, or an
            objective whose margin is not known here.
    """
    booster = open_booster(payload)
    learner = json.loads(booster.save_raw("json"))["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        kind = learner["gradient_booster"]["name"]
        raise UnsupportedModelError(flavor, "xgboost", f"booster {kind!r} is not gbtree")
    model = learner["gradient_booster"]["model"]
    if not model["trees"]:
        raise UnsupportedModelError(flavor, "xgboost", "it has no trees")
    for tree in model["trees"]:
        _refuse_unknown(tree, flavor)
    return _ensemble(learner, model, flavor)


def _refuse_unknown(tree: dict[str, Any], flavor: str) -> None:
    if any(tree["split_type"]):
        raise UnsupportedModelError(flavor, "xgboost", "it has categorical splits")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise UnsupportedModelError(flavor, "xgboost", "its leaves are vectors")


def _ensemble(learner: dict[str, Any], model: dict[str, Any], flavor: str) -> TreeEnsemble:
    trees = model["trees"]
    kept = [np.flatnonzero(np.asarray(t["split_indices"]) != _DELETED) for t in trees]
    sizes = [len(nodes) for nodes in kept]

    def column(name: str, dtype: type) -> NDArray[Any]:
        parts: list[NDArray[Any]] = [
            np.asarray(t[name], dtype)[nodes] for t, nodes in zip(trees, kept, strict=True)
        ]
        return np.concatenate(parts)

    return TreeEnsemble(
        n_features=int(learner["learner_model_param"]["num_feature"]),
        base=_base_margins(learner, flavor),
        tree=np.repeat(np.arange(len(trees)), sizes),
        node=np.concatenate(kept),
        score=np.repeat(np.asarray(model["tree_info"], np.int64), sizes),
        feature=column("split_indices", np.int64),
        value=column("split_conditions", np.float32),
        left=column("left_children", np.int64),
        right=column("right_children", np.int64),
        default_left=column("default_left", np.bool_),
    )


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
