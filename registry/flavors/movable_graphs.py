"""Movable graphs: an exported program written anew for any device and any batch size.

`torch.export` notes a device in each operation that makes a tensor, and tracing makes a tensor of
the number in `x / 5`. Through the size of a recurrent network's first state a trace also keeps the
batch size of its example. Here each operation that makes a tensor takes the device of the model's
input, each constant becomes a buffer that moves with the weights, and each number stays a number.
"""

import operator
from typing import TYPE_CHECKING

from registry.errors import UnsupportedModelError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Graph, GraphModule, Node

NEW = {"zeros": "new_zeros", "ones": "new_ones", "empty": "new_empty", "full": "new_full"}
"""Operations that make a tensor of a size, and those that make it on another tensor's device."""


def movable_graph(program: "ExportedProgram") -> "GraphModule":
    """Return the program as one flat module that maps its input to its output.

    Every tensor in it is a parameter or a buffer, named after its node of the graph.

    Raises:
        UnsupportedModelError: an operation that fixes a device in a way that is not known here, a
            float64 tensor, or a program that is more than a function of one tensor.
    """
    import torch

    source = program.module()
    graph = source.graph
    features = _only_input(graph)
    for node in list(graph.nodes):
        _check_dtype(node)
        if _is_check(node):
            graph.erase_node(node)
        elif node.op == "call_function":
            with graph.inserting_before(node):
                _replace(node, _rewrite(node, features))
    tensors = dict[str, torch.Tensor]()
    for node in graph.nodes:
        if node.op == "get_attr":
            tensors[node.name] = _tensor(operator.attrgetter(str(node.target))(source))
            node.target = node.name
    graph.set_codegen(torch.fx.graph.CodeGen())  # the exported one unpacks nested arguments
    return torch.fx.GraphModule(tensors, graph).eval()


def _only_input(graph: "Graph") -> "Node":
    """Return the input, having made the one output a tensor and no tuple of it."""
    inputs: list[Node] = [node for node in graph.nodes if node.op == "placeholder"]
    output = graph.output_node()
    outputs = output.all_input_nodes
    if len(inputs) != 1 or len(outputs) != 1:
        raise _refusal(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    output.args = (outputs[0],)
    return inputs[0]


def _check_dtype(node: "Node") -> None:
    import torch

    if getattr(node.meta.get("val"), "dtype", None) == torch.float64:
        raise _refusal(f"{node.name} is float64, which not every device has")


def _is_check(node: "Node") -> bool:
    """Return whether a node only looks at shapes, dtypes or devices."""
    checks = ("aten._assert", "aten.sym_constrain")
    is_check = node.op == "call_module" or str(node.target).startswith(checks)
    return is_check and not node.users


def _replace(node: "Node", new: "Node") -> None:
    if new is not node:
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        node.graph.erase_node(node)


def _rewrite(node: "Node", features: "Node") -> "Node":
    """Return a node that gives the same without a device or a batch size; the node if it has none.

    Raises:
        UnsupportedModelError: no such node is known.
    """
    import torch

    graph, aten, target = node.graph, torch.ops.aten, node.target
    if target == aten.sym_size.int:
        return _as_method(node, "size")
    if not isinstance(target, torch._ops.OpOverload):
        return node
    packet = target.overloadpacket
    if target._overloadname == "Tensor" and "Scalar" in packet.overloads() and _has_number(node):
        return graph.call_function(packet.Scalar, node.args, node.kwargs)
    if _fixes_device(node):
        return _beside(features, node, packet.__name__)
    if _takes_size(node):
        return _as_method(node, packet.__name__)
    return node


def _has_number(node: "Node") -> bool:
    return len(node.args) > 1 and type(node.args[1]) in (int, float)


def _fixes_device(node: "Node") -> bool:
    import torch

    return any(isinstance(a, torch.device) for a in (*node.args, *node.kwargs.values()))


def _takes_size(node: "Node") -> bool:
    import torch

    return any(isinstance(n.meta.get("val"), torch.SymInt) for n in node.all_input_nodes)


def _beside(features: "Node", node: "Node", name: str) -> "Node":
    """Return a node that makes the same tensor on the device of the features."""
    import torch

    graph, kind = node.graph, {"dtype": node.meta["val"].dtype}
    if name == "to":
        return graph.call_function(torch.ops.aten.to.dtype, (node.args[0], kind["dtype"]))
    if not node.all_input_nodes:
        assert callable(node.target)
        return _constant(node, node.target(*node.args, **node.kwargs))
    if name in NEW:
        return graph.call_method(NEW[name], (features, *node.args), kind)
    if node.target == torch.ops.aten.arange.default:
        ones = graph.call_method("new_ones", (features, [node.args[0]]), kind)
        counted = graph.call_method("cumsum", (ones, 0), kind)
        return graph.call_function(torch.ops.aten.sub.Scalar, (counted, 1))
    raise _refusal(f"{node.target} fixes a device")


def _as_method(node: "Node", name: str) -> "Node":
    """Return the call as a tensor's method; of an operator's call a trace keeps only the number."""
    import torch

    if not hasattr(torch.Tensor, name):
        raise _refusal(f"{node.target} takes the batch size")
    return node.graph.call_method(name, node.args, node.kwargs)


def _constant(node: "Node", value: "torch.Tensor") -> "Node":
    """Return a node that reads this tensor from the module."""
    module = node.graph.owning_module
    name = f"constant_{node.name}"
    assert module is not None  # it is the exported program's own
    module.register_buffer(name, value)
    return node.graph.get_attr(name)


def _tensor(value: object) -> "torch.Tensor":
    import torch

    if not isinstance(value, torch.Tensor):
        raise _refusal(f"it holds a {type(value).__name__}")
    return value


def _refusal(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError("torchscript", "torch-export", reason)
