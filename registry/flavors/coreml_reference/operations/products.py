"""Products of matrices: linear layers, attention, convolutions."""

import math
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.operations.activations import softmax
from registry.flavors.coreml_reference.signatures import (
    FROM_IOS18,
    Anything,
    Floats,
    operation,
    operations,
)
from registry.flavors.coreml_reference.values import expect_shape, sized

Steps = tuple[int, ...] | None
_ALL = slice(None)


def linear(x: Floats, weight: Floats, bias: Floats | None = None) -> Floats:
    """Return x times the transposed weight (output, input), plus bias."""
    sized(*x.shape[:-1], len(weight))
    result = x @ weight.T
    if bias is not None:
        expect_shape(bias, len(weight))
        result = result + bias
    return np.asarray(result)


def matmul(x: Floats, y: Floats, transpose_x: bool = False, transpose_y: bool = False) -> Floats:
    """Return the matrix product of the last two axes, each transposed first where that is set."""
    left = np.swapaxes(x, -1, -2) if transpose_x else x
    right = np.swapaxes(y, -1, -2) if transpose_y else y
    rows, columns = left.shape[-2:-1], right.shape[-1:] if right.ndim > 1 else ()
    sized(*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), *rows, *columns)
    return np.asarray(left @ right)


def scaled_dot_product_attention(
    query: Floats, key: Floats, value: Floats, attn_mask: Anything | None = None
) -> Floats:
    """Return the softmax of query times key over the square root of its size, times value."""
    scores = matmul(query, key, transpose_y=True) / np.float32(math.sqrt(query.shape[-1]))
    if attn_mask is not None:
        is_choice = attn_mask.dtype.kind == "b"
        sized(*np.broadcast_shapes(scores.shape, attn_mask.shape))
        scores = np.where(attn_mask, scores, -np.inf) if is_choice else scores + attn_mask
    return matmul(softmax(scores.astype(np.float32)), value)


def conv(
    x: Floats,
    weight: Floats,
    bias: Floats | None = None,
    strides: Steps = None,
    pad_type: Literal["valid", "custom"] = "valid",
    pad: Steps = None,
    dilations: Steps = None,
    groups: int = 1,
) -> Floats:
    """Convolve (sample, channel, place...) with (output, channel of a group, place...)."""
    steps, gaps = _per_axis(strides, x), _per_axis(dilations, x)
    padded = np.pad(x, [(0, 0), (0, 0), *_paddings(pad, pad_type, x)])
    kernel = weight.shape[2:]
    places = [
        (size - (taps - 1) * gap - 1) // step + 1
        for size, taps, gap, step in zip(padded.shape[2:], kernel, gaps, steps, strict=True)
    ]
    inputs, outputs = x.shape[1] // groups, len(weight) // groups
    if weight.shape[1] * groups != x.shape[1] or outputs * groups != len(weight):
        raise ValueError(f"{groups} groups of {x.shape[1]} channels and {len(weight)} outputs")
    total = np.zeros(sized(len(x), groups, outputs, math.prod(places)), np.float32)
    for tap in product(*map(range, kernel)):
        spans = tuple(
            slice(i * gap, i * gap + (n - 1) * step + 1, step)
            for i, gap, n, step in zip(tap, gaps, places, steps, strict=True)
        )
        seen = padded[_ALL, _ALL, *spans].reshape(len(x), groups, inputs, -1)
        total += _at(weight, tap).reshape(groups, outputs, inputs) @ seen
    return _with_bias(total.reshape(len(x), len(weight), *places), bias)


def conv_transpose(
    x: Floats,
    weight: Floats,
    bias: Floats | None = None,
    strides: Steps = None,
    pad_type: Literal["valid", "custom"] = "valid",
    pad: Steps = None,
    dilations: Steps = None,
    groups: int = 1,
    output_shape: Steps = None,
) -> Floats:
    """Undo a convolution with (channel, output of a group, place...); pad is cut off."""
    steps, gaps = _per_axis(strides, x), _per_axis(dilations, x)
    inputs, outputs, kernel = x.shape[1] // groups, weight.shape[1], weight.shape[2:]
    if len(weight) != x.shape[1] or inputs * groups != x.shape[1]:
        raise ValueError(f"{groups} groups of {x.shape[1]} channels")
    places = [
        (size - 1) * step + (taps - 1) * gap + 1
        for size, step, taps, gap in zip(x.shape[2:], steps, kernel, gaps, strict=True)
    ]
    total = np.zeros(sized(len(x), groups, outputs, *places), np.float32)
    seen = x.reshape(len(x), groups, inputs, -1)
    for tap in product(*map(range, kernel)):
        spans = tuple(
            slice(i * gap, i * gap + (n - 1) * step + 1, step)
            for i, gap, n, step in zip(tap, gaps, x.shape[2:], steps, strict=True)
        )
        part = _at(weight, tap).reshape(groups, inputs, outputs)
        made = part.transpose(0, 2, 1) @ seen
        total[_ALL, _ALL, _ALL, *spans] += made.reshape(len(x), groups, outputs, *x.shape[2:])
    whole = total.reshape(len(x), groups * outputs, *places)
    cut = [slice(a, n - b) for n, (a, b) in zip(places, _paddings(pad, pad_type, x), strict=True)]
    result = _with_bias(whole[_ALL, _ALL, *cut], bias)
    if output_shape is not None and result.shape[1:] != output_shape[1:]:
        raise ValueError(f"shape {result.shape} where {output_shape} is asked for")
    return result


def _per_axis(given: tuple[int, ...] | None, x: NDArray[Any]) -> tuple[int, ...]:
    found = (1,) * (x.ndim - 2) if given is None else given
    if len(found) != x.ndim - 2 or min(found, default=1) < 1:
        raise ValueError(f"steps {found} for {x.ndim - 2} axes")
    return found


def _paddings(pad: tuple[int, ...] | None, pad_type: str, x: NDArray[Any]) -> list[tuple[int, int]]:
    if pad_type == "valid" or pad is None:
        return [(0, 0)] * (x.ndim - 2)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if len(pairs) != x.ndim - 2 or min(pad) < 0:
        raise ValueError(f"padding {pad} for {x.ndim - 2} axes")
    sized(*x.shape[:2], *(n + sum(p) for n, p in zip(x.shape[2:], pairs, strict=True)))
    return pairs


def _at(weight: NDArray[np.float32], tap: tuple[int, ...]) -> NDArray[np.float32]:
    place: tuple[Any, ...] = (_ALL, _ALL, *tap)
    return np.asarray(weight[place])


def _with_bias(
    result: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    if bias is None:
        return result
    expect_shape(bias, result.shape[1])
    return result + bias.reshape(1, -1, *[1] * (result.ndim - 2))


OPERATIONS = (
    *operations(conv, conv_transpose, linear, matmul),
    operation(scaled_dot_product_attention, opsets=FROM_IOS18),
)
