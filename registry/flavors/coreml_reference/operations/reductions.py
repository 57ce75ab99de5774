"""Reductions along axes; without axes, along all of them."""

import numpy as np

from registry.flavors.coreml_reference.signatures import (
    Floats,
    Indices,
    Numbers,
    OutputType,
    operations,
)

Axes = tuple[int, ...] | None


def reduce_argmax(
    x: Numbers, axis: int = -1, keep_dims: bool = False, output_dtype: OutputType = "int32"
) -> Indices:
    """Return the index of the largest value; the first of equals."""
    return np.asarray(np.argmax(x, axis=axis, keepdims=keep_dims), np.int64)


def reduce_argmin(
    x: Numbers, axis: int = -1, keep_dims: bool = False, output_dtype: OutputType = "int32"
) -> Indices:
    """Return the index of the smallest value; the first of equals."""
    return np.asarray(np.argmin(x, axis=axis, keepdims=keep_dims), np.int64)


def reduce_l1_norm(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return the sum of the absolute values."""
    return reduce_sum(np.abs(x), axes, keep_dims)


def reduce_l2_norm(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return the square root of the sum of the squares."""
    return np.asarray(np.sqrt(reduce_sum(x * x, axes, keep_dims)))


def reduce_log_sum(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return the logarithm of the sum."""
    return np.asarray(np.log(reduce_sum(x, axes, keep_dims)))


def reduce_log_sum_exp(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return log(sum(e^x)) without overflow; -infinity where every x is."""
    top = reduce_max(x, axes, keep_dims=True)
    shift = np.where(np.isfinite(top), top, 0)
    total = np.log(reduce_sum(np.exp(x - shift), axes, keep_dims=True)) + shift
    return np.asarray(total if keep_dims else np.squeeze(total, axes))


def reduce_max(x: Numbers, axes: Axes = None, keep_dims: bool = False) -> Numbers:
    """Return the largest value."""
    return np.asarray(x.max(axis=axes, keepdims=keep_dims))


def reduce_mean(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return the mean."""
    return np.asarray(x.mean(axis=axes, keepdims=keep_dims))


def reduce_min(x: Numbers, axes: Axes = None, keep_dims: bool = False) -> Numbers:
    """Return the smallest value."""
    return np.asarray(x.min(axis=axes, keepdims=keep_dims))


def reduce_prod(x: Floats, axes: Axes = None, keep_dims: bool = False) -> Floats:
    """Return the product."""
    return np.asarray(x.prod(axis=axes, keepdims=keep_dims))


def reduce_sum(x: Numbers, axes: Axes = None, keep_dims: bool = False) -> Numbers:
    """Return the sum."""
    return np.asarray(x.sum(axis=axes, keepdims=keep_dims))


def reduce_sum_square(x: Numbers, axes: Axes = None, keep_dims: bool = False) -> Numbers:
    """Return the sum of the squares."""
    return reduce_sum(x * x, axes, keep_dims)


OPERATIONS = operations(
    reduce_argmax,
    reduce_argmin,
    reduce_l1_norm,
    reduce_l2_norm,
    reduce_log_sum,
    reduce_log_sum_exp,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
    reduce_sum_square,
)
