"""Networks: a `.pt2` file as a trace that coremltools converts.

coremltools' own reader of torch.export fails on an RNN and names outputs by chance; it reads a
trace of the same program well. The trace is made once for all variants of a version.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from registry.flavors.programs import open_program

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.jit import ScriptModule


@lru_cache(maxsize=1)
def trace(payload: bytes) -> "ScriptModule":
    """Return the trace of a `.pt2` file; it takes any number of rows.

    Raises:
        UnreadableArtifactError: the bytes are not such a file.
    """
    program = open_program(payload)
    with _plain_attention():
        return _trace_movable(program)


def row_shape(payload: bytes) -> tuple[int, ...]:
    """Return `(feature,)` or `(step, feature)`: what one row of a `.pt2` file's input is."""
    return _row_shape(open_program(payload))


def _row_shape(program: "ExportedProgram") -> tuple[int, ...]:
    name = program.graph_signature.user_inputs[0]
    nodes = {node.name: node for node in program.graph.nodes}
    return tuple(int(size) for size in nodes[str(name)].meta["val"].shape[1:])


def _trace_movable(program: "ExportedProgram") -> "ScriptModule":
    """Trace a program after taking the example's batch size and device out of it.

    A program reads its number of rows by `sym_size` and makes first states by `zeros`: a trace of
    these keeps the numbers of the example.
    """
    import torch

    module = program.module()
    rows = next(node for node in module.graph.nodes if node.op == "placeholder")
    for node in list(module.graph.nodes):
        with module.graph.inserting_before(node):
            if node.target is torch.ops.aten.sym_size.int:
                movable = module.graph.call_method("size", node.args)
            elif node.target is torch.ops.aten.zeros.default:
                movable = module.graph.call_method("new_zeros", (rows, node.args[0]))
            else:
                continue
        node.replace_all_uses_with(movable)
        module.graph.erase_node(node)
    module.recompile()
    example = torch.zeros((2, *_row_shape(program)))
    traced: ScriptModule = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off torch's fused attention layer, one operator that no converter knows."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
