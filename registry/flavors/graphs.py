"""Graphs: ONNX files as plain values, so that describing one needs numpy alone.

A `Graph` lists operations between named tensors. `write_graph` turns it into the bytes of a file
that takes `features` and gives `scores`, checked by ONNX's own checker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT, OUTPUT = "features", "scores"
OPSET, TREE_OPSET, IR_VERSION = 20, 3, 10
"""Operator sets and file version that onnxruntime 1.32 runs."""
TREE_DOMAIN = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator: its name, the tensors it reads and writes, its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""


class Graph:
    """Operations in order, and the constants they read. Names of tensors are made here."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.array(values, order="C")  # a scalar stays one
        return name

    def add(
        self,
        operator: str,
        *inputs: str | NDArray[Any],
        domain: str = "",
        output: str = "",
        **attributes: Any,
    ) -> str:
        """Add an operator; an array among the inputs becomes a constant. Return its output."""
        names = tuple(i if isinstance(i, str) else self.constant(i) for i in inputs)
        made = output or f"tensor_{len(self.operations)}"
        self.operations.append(Operation(operator, names, (made,), attributes, domain))
        return made

    def add_joined(self, columns: Sequence[str], output: str) -> str:
        """Add the tensors (n, 1) side by side as (n, len(columns)); return the output."""
        return self.add("Concat", *columns, output=output, axis=1)


def write_graph(graph: Graph, row_shape: tuple[int, ...], n_scores: int) -> bytes:
    """Return the ONNX file of a graph.

    Args:
        row_shape: `(feature,)` or `(step, feature)`; the number of rows stays open.
    """
    import onnx
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node(
            o.operator, list(o.inputs), list(o.outputs), domain=o.domain, **dict(o.attributes)
        )
        for o in graph.operations
    ]
    float32 = onnx.TensorProto.FLOAT
    content = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(INPUT, float32, ["sample", *row_shape])],
        [helper.make_tensor_value_info(OUTPUT, float32, ["sample", n_scores])],
        [numpy_helper.from_array(values, name) for name, values in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(TREE_DOMAIN, TREE_OPSET)]
    model = helper.make_model(content, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
