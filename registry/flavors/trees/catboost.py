"""CatBoost's binary model: opened by the library, read as arrays.

CatBoost's trees are oblivious: every level asks one question, `x > border` in float32. They are
read from the library's own JSON export and written out as plain binary trees. Category codes
reach CatBoost as integers, a missing one as -1; its splits on them are target statistics behind a
hash, which no other format holds, so such a model stays native.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors.trees import GREATER, TreeEnsemble, TreeNodes

if TYPE_CHECKING:
    from catboost import CatBoost

UNKNOWN_CODE = -1
"""What CatBoost is told where a category is missing."""
_NAN_IS_GREATER = {"AsIs": False, "AsFalse": False, "AsTrue": True}


MAGIC, HEAD = b"CBM1", 8
"""How a file begins; the length of what follows stands behind it, in four bytes."""


def open_catboost(payload: bytes) -> "CatBoost":
    """Return the model of a CatBoost binary file.

    Raises:
        UnreadableArtifactError: the bytes are not a CatBoost model, or not all of one.
    """
    from catboost import CatBoost, CatBoostError

    # CatBoost 1.2 does not always see that a file was cut, and reads what lies behind it in memory
    if len(payload) < HEAD + int.from_bytes(payload[len(MAGIC) : HEAD], "little"):
        raise UnreadableArtifactError("native", "the file of CatBoost was cut")
    try:
        model = CatBoost().load_model(blob=payload)
    except CatBoostError as exc:
        raise UnreadableArtifactError("native", "CatBoost cannot parse it") from exc
    return model


def catboost_features(X: NDArray[np.float32], categorical: list[int]) -> NDArray[Any]:
    """Return features as CatBoost takes them: category codes as integers, missing ones as -1."""
    if not categorical:
        return X
    mixed = X.astype(object)
    for column in categorical:
        codes = X[:, column]
        is_code = np.isfinite(codes) & (np.abs(codes) < 2**31)
        mixed[:, column] = np.where(is_code, codes, UNKNOWN_CODE).astype(np.int64)
    return mixed


def read_catboost(payload: bytes, flavor: str) -> TreeEnsemble:
    """Return the trees of a CatBoost binary file.

    Args:
        flavor: the flavor to be written, for the error messages.

    Raises:
        UnreadableArtifactError: the bytes are not a CatBoost model.
        UnsupportedModelError: categorical features, or trees that are not oblivious.
    """
    model = open_catboost(payload)
    if model.get_cat_feature_indices():
        reason = "its categorical features are target statistics behind a hash"
        raise UnsupportedModelError(flavor, "catboost", reason)
    exported = _export(model)
    if "oblivious_trees" not in exported:
        raise UnsupportedModelError(flavor, "catboost", "its trees are not oblivious")
    features = exported["features_info"]["float_features"]
    scale, bias = exported["scale_and_bias"]
    nan_right = [_NAN_IS_GREATER[f["nan_value_treatment"]] for f in features]
    nodes = TreeNodes(len(features), len(bias))
    for tree in exported["oblivious_trees"]:
        nodes.start_tree()
        leaves = np.array(tree["leaf_values"], np.float64).reshape(-1, len(bias)) * scale
        _add_level(nodes, tree["splits"] or [], leaves, nan_right)
    return nodes.ensemble(np.array(bias, np.float32))


def _export(model: "CatBoost") -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        exported: dict[str, Any] = json.loads(path.read_text())
    return exported


def _add_level(
    nodes: TreeNodes,
    splits: list[dict[str, Any]],
    leaves: NDArray[np.float64],
    nan_greater: list[bool],
) -> int:
    """Add one level of an oblivious tree and those below it; return its first node.

    Bit i of a leaf's number is the answer to question i, so the last question halves the leaves.
    """
    if not splits:
        return nodes.add_leaf({score: float(v) for score, v in enumerate(leaves[0])})
    *rest, question = splits
    feature = int(question["float_feature_index"])
    node = nodes.add_split(feature, GREATER, float(question["border"]), nan_greater[feature])
    half = len(leaves) // 2
    above = _add_level(nodes, rest, leaves[half:], nan_greater)
    nodes.connect(node, above, _add_level(nodes, rest, leaves[:half], nan_greater))
    return node
