"""Operations: the project's own graphs as ML Programs, one operator at a time.

`registry.flavors.graphs.Graph` is what every array model adds itself to. This translator knows the
operators that array models use, with the inputs and attributes that they use; whatever it does not
know it refuses by name. Numbers stay float32, indices int32. Sums of exponentials are written out
with their maximum taken off first, so that a logarithm of a tiny number never becomes infinite.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnsupportedModelError
from registry.flavors.coreml.descent import add_descent
from registry.flavors.graphs import INPUT, OUTPUT, TREE_DOMAIN, Graph

PASSES = (
    "common::noop_elimination",
    "common::const_elimination",
    "common::const_deduplication",
    "common::fuse_matmul_weight_bias",
    "common::dedup_op_and_var_names",
    "common::add_fp16_cast",
    "common::update_output_dtypes",
    "common::cast_optimization",
    "common::const_elimination",
    "common::dead_code_elimination",
)
"""Passes of coremltools that a graph needs. All hundred of them find nothing else to do in one, and
take half a minute over the steps of a hidden Markov model."""
Tensor = Any
"""A `Var` of coremltools' builder, or an array where the graph has a constant."""
Attributes = Mapping[str, Any]


def make_program(graph: Graph, row_shape: tuple[int, ...], target: Any) -> Any:
    """Return coremltools' program of a graph; the number of rows stays open.

    Args:
        row_shape: `(feature,)` or `(step, feature)`.
        target: the `coremltools.target` whose operations may be used.

    Raises:
        UnsupportedModelError: an operator that is not handled.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import get_new_symbol, types

    rows = Builder.TensorSpec(shape=(get_new_symbol(), *row_shape), dtype=types.fp32)

    def main(features: Any) -> Any:
        return _translate(Builder, graph, features)

    return Builder.program(input_specs=[rows], opset_version=target)(main)


def _translate(mb: Any, graph: Graph, features: Any) -> Any:
    tensors: dict[str, Tensor] = {INPUT: features}
    tensors |= {name: _constant(values) for name, values in graph.constants.items()}
    for operation in graph.operations:
        if operation.operator not in OPERATORS:
            reason = f"operator {operation.operator!r} has no translation"
            raise UnsupportedModelError("coreml", "arrays", reason)
        inputs = [tensors[name] for name in operation.inputs]
        translate = OPERATORS[operation.operator]
        tensors[operation.outputs[0]] = translate(mb, operation.attributes, *inputs)
    return mb.identity(x=tensors[OUTPUT], name=OUTPUT)


def _constant(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int32) if values.dtype == np.int64 else values


def _elementwise(name: str) -> Callable[..., Any]:
    def translate(mb: Any, _: Attributes, x: Tensor, y: Tensor) -> Any:
        return getattr(mb, name)(x=x, y=y)

    return translate


def _reduction(reduce: Callable[[Any, Any, list[int], bool], Any]) -> Callable[..., Any]:
    def translate(mb: Any, attributes: Attributes, x: Any, axes: NDArray[Any]) -> Any:
        return reduce(mb, x, axes.tolist(), bool(attributes["keepdims"]))

    return translate


def _maximum(mb: Any, x: Any, axes: list[int], keep: bool) -> Any:
    return mb.reduce_max(x=x, axes=axes, keep_dims=keep)


def _sum_of_squares(mb: Any, x: Any, axes: list[int], keep: bool) -> Any:
    return mb.reduce_sum(x=mb.mul(x=x, y=x), axes=axes, keep_dims=keep)


def _length(mb: Any, x: Any, axes: list[int], keep: bool) -> Any:
    return mb.sqrt(x=_sum_of_squares(mb, x, axes, keep))


def _log_sum_exp(mb: Any, x: Any, axes: list[int], keep: bool) -> Any:
    top = mb.reduce_max(x=x, axes=axes, keep_dims=True)
    total = mb.reduce_sum(x=mb.exp(x=mb.sub(x=x, y=top)), axes=axes, keep_dims=True)
    found = mb.add(x=top, y=mb.log(x=total))
    return found if keep else mb.squeeze(x=found, axes=axes)


def _log_softmax(mb: Any, attributes: Attributes, x: Any) -> Any:
    return mb.sub(x=x, y=_log_sum_exp(mb, x, [attributes["axis"]], keep=True))


def _concat(mb: Any, attributes: Attributes, *values: Any) -> Any:
    return mb.concat(values=values, axis=attributes["axis"])


def _gather_one(mb: Any, attributes: Attributes, x: Any, index: NDArray[Any]) -> Any:
    """Take one entry of an axis, and the axis out."""
    at = [int(index) if axis == attributes["axis"] else 0 for axis in range(x.rank)]
    taken = [axis == attributes["axis"] for axis in range(x.rank)]
    others = [not is_taken for is_taken in taken]
    end = [place + 1 for place in at]
    return mb.slice_by_index(
        x=x, begin=at, end=end, begin_mask=others, end_mask=others, squeeze_mask=taken
    )


def _slice(
    mb: Any, _: Attributes, x: Any, start: NDArray[Any], end: NDArray[Any], axes: NDArray[Any]
) -> Any:
    low, high, whole = [0] * x.rank, [0] * x.rank, [True] * x.rank
    for axis, first, last in zip(axes.tolist(), start.tolist(), end.tolist(), strict=True):
        low[axis], high[axis], whole[axis] = first, last, False
    return mb.slice_by_index(x=x, begin=low, end=high, begin_mask=whole, end_mask=whole)


def _gemm(mb: Any, _: Attributes, x: Any, weight: NDArray[Any], bias: NDArray[Any]) -> Any:
    return mb.linear(x=x, weight=np.ascontiguousarray(weight.T), bias=bias)


def _matmul(mb: Any, _: Attributes, x: Any, weight: NDArray[Any]) -> Any:
    return mb.matmul(x=x, y=weight)


def _is_nan(mb: Any, _: Attributes, x: Any) -> Any:
    return mb.not_equal(x=x, y=x)  # only a missing value differs from itself


def _where(mb: Any, _: Attributes, cond: Any, a: Tensor, b: Tensor) -> Any:
    return mb.select(cond=cond, a=a, b=b)


def _reshape(mb: Any, _: Attributes, x: Any, shape: NDArray[Any]) -> Any:
    return mb.reshape(x=x, shape=shape)


def _unsqueeze(mb: Any, _: Attributes, x: Any, axes: NDArray[Any]) -> Any:
    return mb.expand_dims(x=x, axes=axes.tolist())


def _identity(mb: Any, _: Attributes, x: Any) -> Any:
    return mb.identity(x=x)


def _log(mb: Any, _: Attributes, x: Any) -> Any:
    return mb.log(x=x)


def _neg(mb: Any, _: Attributes, x: Any) -> Any:
    return mb.mul(x=x, y=np.float32(-1))


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": _elementwise("add"),
    "Concat": _concat,
    "Div": _elementwise("real_div"),
    "Gather": _gather_one,
    "Gemm": _gemm,
    "Identity": _identity,
    "IsNaN": _is_nan,
    "Log": _log,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "Max": _elementwise("maximum"),
    "Min": _elementwise("minimum"),
    "Mul": _elementwise("mul"),
    "Neg": _neg,
    "Pow": _elementwise("pow"),
    "ReduceL2": _reduction(_length),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(_maximum),
    "ReduceSumSquare": _reduction(_sum_of_squares),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sub": _elementwise("sub"),
    "TreeEnsembleRegressor": add_descent,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""ONNX's name of an operator -> what adds its translation."""


def has_trees(graph: Graph) -> bool:
    """Whether a graph holds a node of trees."""
    return any(operation.domain == TREE_DOMAIN for operation in graph.operations)
