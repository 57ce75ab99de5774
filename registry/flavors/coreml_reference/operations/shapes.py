"""Shapes: the same numbers in another arrangement, and tensors made of a few numbers."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from registry.flavors.coreml_reference.signatures import Indices, Numbers, Tensors, operations
from registry.flavors.coreml_reference.values import sized


def concat(values: Sequence[Tensors], axis: int, interleave: Literal[False] = False) -> Tensors:
    """Join values along an axis; scalars become a vector."""
    if all(value.ndim == 0 for value in values):
        return np.stack(values, axis)
    return np.concatenate(values, axis)


def cumsum(x: Numbers, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Numbers:
    """Return sums so far; exclusive leaves out the element itself, reverse starts at the end."""
    ordered = np.flip(x, axis) if reverse else x
    sums = np.cumsum(ordered, axis, dtype=x.dtype)
    if exclusive:
        first = np.zeros_like(np.take(sums, [0], axis))
        sums = np.concatenate([first, np.delete(sums, -1, axis)], axis)
    return np.flip(sums, axis) if reverse else sums


def expand_dims(x: Tensors, axes: tuple[int, ...]) -> Tensors:
    """Insert axes of size 1 at these places of the result."""
    return np.expand_dims(x, axes)


def fill(shape: Indices, value: Tensors) -> Tensors:
    """Return one value everywhere."""
    return np.full(sized(*shape.tolist()), value.item(), value.dtype)


def pad(
    x: Tensors,
    pad: tuple[int, ...],
    mode: Literal["constant", "reflect", "replicate"] = "constant",
    constant_val: float = 0.0,
) -> Tensors:
    """Put numbers before and after: pairs for the last axes."""
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    sized(*(size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True)))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=x.dtype.type(constant_val))
    if mode == "reflect" and any(max(p) >= n for p, n in zip(pairs, x.shape, strict=True)):
        raise ValueError("a reflection wider than the tensor")
    return np.pad(x, pairs, "edge" if mode == "replicate" else "reflect")


def range_1d(end: Numbers, start: Numbers, step: Numbers) -> Numbers:
    """Count from start, by step, up to but without end."""
    n = math.ceil((end.item() - start.item()) / step.item())
    steps = np.arange(*sized(max(n, 0)), dtype=start.dtype)
    return np.asarray(start.item() + steps * step.item(), start.dtype)


def reshape(x: Tensors, shape: Indices) -> Tensors:
    """Return another shape; -1 is the size that is left, 0 that of the same axis of x."""
    wanted = shape.tolist()
    if 0 in wanted and len(wanted) != x.ndim:
        raise ValueError("a size 0 in a shape of another rank")
    return x.reshape([x.shape[axis] if n == 0 else n for axis, n in enumerate(wanted)])


def reverse(x: Tensors, axes: tuple[int, ...] | None = None) -> Tensors:
    """Turn round along axes."""
    return np.flip(x, axes)


def shape(x: Tensors) -> Indices:
    """Return the sizes."""
    return np.array(x.shape, np.int64)


def split(
    x: Tensors,
    axis: int,
    num_splits: int | None = None,
    split_sizes: tuple[int, ...] | None = None,
) -> Sequence[Tensors]:
    """Cut into parts along an axis: so many equal ones, or of these sizes."""
    if (num_splits is None) == (split_sizes is None):
        raise ValueError("both num_splits and split_sizes, or neither")
    if split_sizes is None:
        return np.split(x, num_splits or 0, axis)
    if sum(split_sizes) != x.shape[axis] or min(split_sizes) < 0:
        raise ValueError(f"sizes {split_sizes} of an axis of {x.shape[axis]}")
    return np.split(x, np.cumsum(split_sizes)[:-1].tolist(), axis)


def squeeze(x: Tensors, axes: tuple[int, ...] | None = None) -> Tensors:
    """Drop these axes of size 1; all of them where none is named."""
    return np.squeeze(x, axes)


def stack(values: Sequence[Tensors], axis: int) -> Tensors:
    """Join values along a new axis."""
    return np.stack(values, axis)


def tile(x: Tensors, reps: Indices) -> Tensors:
    """Repeat along each axis."""
    counts = reps.tolist()
    if len(counts) != x.ndim or min(counts, default=1) < 1:
        raise ValueError(f"repetitions {counts} of a tensor of rank {x.ndim}")
    sized(*(n * count for n, count in zip(x.shape, counts, strict=True)))
    return np.tile(x, counts)


def transpose(x: Tensors, perm: tuple[int, ...]) -> Tensors:
    """Put the axes into another order."""
    return np.transpose(x, perm)


OPERATIONS = operations(
    concat,
    cumsum,
    expand_dims,
    fill,
    pad,
    range_1d,
    reshape,
    reverse,
    shape,
    split,
    squeeze,
    stack,
    tile,
    transpose,
)
