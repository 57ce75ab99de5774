"""Flavor `onnx`: one self-contained file for onnxruntime.

The graph takes `features` float32 `(sample, [step,] feature)` and gives `scores` float32
`(sample, score)`: raw margins or logits, no label, no link. Written from the native file alone,
so a version can be converted without the code that trained it. Trees become one
TreeEnsembleRegressor node built from the booster's own dump, arrays the operations that their model
names (`registry.flavors.arrays`); networks go through `torch.onnx`.
"""

import logging
import warnings
from collections.abc import Callable

from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import FULL, Artifact, NativeModel
from registry.flavors.arrays import open_arrays
from registry.flavors.graphs import INPUT, OPSET, OUTPUT, Graph, write_graph
from registry.flavors.programs import open_program, quiet
from registry.flavors.trees import TreeEnsemble
from registry.flavors.trees.catboost import read_catboost
from registry.flavors.trees.lightgbm import read_lightgbm
from registry.flavors.trees.nodes import add_trees
from registry.flavors.trees.xgboost import read_xgboost

ONNX = Artifact("onnx")


class Onnx:
    """ONNX with a dynamic batch dimension."""

    name = "onnx"
    libraries: tuple[str, ...] = ()
    variants = (FULL,)
    compressions = ()

    def unavailable_reason(self) -> str | None:
        """Return None: every machine has ONNX."""
        return None

    def write(
        self, native: NativeModel, contract: ModelContract, variant: str = FULL
    ) -> dict[str, bytes]:
        """Return the one ONNX file.

        Raises:
            UnsupportedModelError: a native format or a kind of tree that is not handled.
            UnreadableArtifactError: the payload is not what its format says.
        """
        if native.format not in _WRITERS:
            known = ", ".join(sorted(_WRITERS))
            raise UnsupportedModelError(self.name, native.format, f"known formats: {known}")
        return {ONNX.path(".onnx"): _WRITERS[native.format](native.payload)}


def _from_trees(read: Callable[[bytes, str], TreeEnsemble]) -> Callable[[bytes], bytes]:
    def write(payload: bytes) -> bytes:
        trees = read(payload, "onnx")
        graph = Graph()
        add_trees(graph, trees, INPUT, OUTPUT)
        return write_graph(graph, (trees.n_features,), len(trees.base))

    return write


def _from_arrays(payload: bytes) -> bytes:
    model = open_arrays(payload)
    graph = Graph()
    model.add_to(graph, INPUT, OUTPUT)
    return write_graph(graph, model.row_shape, model.n_scores)


def _from_torch(payload: bytes) -> bytes:
    import torch

    program = open_program(payload)
    with warnings.catch_warnings(), quiet(_EXPORTER_LOG):
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


_EXPORTER_LOG = logging.getLogger("torch.onnx._internal.exporter._registration")
"""It writes four lines about torchvision operators, which no model here has."""

_WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "arrays": _from_arrays,
    "catboost-cbm": _from_trees(read_catboost),
    "lightgbm-txt": _from_trees(read_lightgbm),
    "torch-export": _from_torch,
    "xgboost-ubj": _from_trees(read_xgboost),
}

FLAVOR = Onnx()
