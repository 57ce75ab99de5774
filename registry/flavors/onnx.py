"""Flavor `onnx`: one self-contained file for onnxruntime.

The graph takes `features` float32 `(sample, [step,] feature)` and gives `scores` float32
`(sample, score)`: raw margins or logits, no label, no link. Written from the native file alone,
so a version can be converted without the code that trained it. Trees become one
TreeEnsembleRegressor node built from the booster's own dump; networks go through `torch.onnx`.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.programs import open_program
from registry.flavors.trees import TreeEnsemble, read_xgboost

INPUT, OUTPUT = "features", "scores"
OPSET, TREE_OPSET, IR_VERSION = 20, 3, 10
"""Operator sets and file version that onnxruntime 1.32 runs."""


class Onnx:
    """ONNX with a dynamic batch dimension."""

    name = "onnx"

    def file_name(self, native_format: str) -> str:
        """Return `onnx/model.onnx`, whatever the native format."""
        return "onnx/model.onnx"

    def write(self, native: NativeModel, contract: ModelContract) -> bytes:
        """Return the ONNX file.

        Raises:
            UnsupportedModelError: a native format or a kind of tree that is not handled.
            UnreadableArtifactError: the payload is not what its format says.
        """
        if native.format not in _WRITERS:
            known = ", ".join(sorted(_WRITERS))
            raise UnsupportedModelError(self.name, native.format, f"known formats: {known}")
        return _WRITERS[native.format](native.payload)


def _from_xgboost(payload: bytes) -> bytes:
    import onnx
    from onnx import helper

    trees = read_xgboost(payload, "onnx")
    node = helper.make_node(
        "TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", **_attributes(trees)
    )
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info(INPUT, float32, ["sample", trees.n_features])],
        [helper.make_tensor_value_info(OUTPUT, float32, ["sample", len(trees.base)])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREE_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _attributes(trees: TreeEnsemble) -> dict[str, Any]:
    """Return the node's attributes; a child number at a leaf is 0 and never read."""
    leaf = trees.is_leaf
    return {
        "n_targets": len(trees.base),
        "base_values": trees.base.tolist(),
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": trees.tree.tolist(),
        "nodes_nodeids": trees.node.tolist(),
        "nodes_featureids": np.where(leaf, 0, trees.feature).tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
        "nodes_values": np.where(leaf, np.float32(0), trees.value).tolist(),
        "nodes_truenodeids": np.where(leaf, 0, trees.left).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, trees.right).tolist(),
        "nodes_missing_value_tracks_true": trees.default_left.astype(np.int64).tolist(),
        "target_treeids": trees.tree[leaf].tolist(),
        "target_nodeids": trees.node[leaf].tolist(),
        "target_ids": trees.score[leaf].tolist(),
        "target_weights": trees.value[leaf].tolist(),
    }


def _from_torch(payload: bytes) -> bytes:
    import torch

    program = open_program(payload)
    with warnings.catch_warnings(), _quiet(_EXPORTER_LOG):
        # the exporter itself still uses a deprecated spelling of torch's tree utilities
        warnings.filterwarnings("ignore", message="`isinstance\\(treespec", category=FutureWarning)
        try:
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as exc:
            first = str(exc).strip().partition("\n")[0]
            raise UnsupportedModelError("onnx", "torch-export", first) from exc
    assert written is not None  # only a destination makes it None
    model = written.model_proto
    for node in model.graph.node:  # the exporter's notes: paths, class names, source lines
        node.ClearField("metadata_props")
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet(log: logging.Logger) -> Iterator[None]:
    """Silence the exporter's four lines about torchvision operators, which no model here has."""
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


_EXPORTER_LOG = logging.getLogger("torch.onnx._internal.exporter._registration")

_WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "torch-export": _from_torch,
    "xgboost-ubj": _from_xgboost,
}

FLAVOR = Onnx()
