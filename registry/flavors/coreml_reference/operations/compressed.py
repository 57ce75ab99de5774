"""Compressed weights: constants that are decoded once, when the program is loaded.

iOS 16 writes what they take as attributes, iOS 18 as inputs; the two forms of a lookup table are
two operations of one name.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.signatures import (
    BEFORE_IOS18,
    FROM_IOS18,
    Codes,
    Floats,
    Indices,
    Offsets,
    operation,
)
from registry.flavors.coreml_reference.values import sized
from registry.flavors.coreml_reference.weights import unpack_bits

TABLE_SIZES = (2, 4, 16, 64, 256)


def constexpr_affine_dequantize(
    quantized_data: Codes, zero_point: Offsets, scale: Floats, axis: int
) -> Floats:
    """Return scale (quantized_data - zero_point); a vector has a number per place of the axis."""
    shift = _along(zero_point.astype(np.float32), quantized_data.shape, axis)
    factor = _along(scale, quantized_data.shape, axis)
    return np.asarray((quantized_data.astype(np.float32) - shift) * factor)


def constexpr_blockwise_shift_scale(
    data: Codes, scale: Floats, offset: Offsets | None = None
) -> Floats:
    """Return scale (data - offset); each of these numbers is for a block of equal sides."""
    values = data.astype(np.float32)
    if offset is not None:
        if offset.shape != scale.shape:
            raise ValueError(f"offsets of shape {offset.shape} for scales of {scale.shape}")
        values = values - _blocks(offset.astype(np.float32), data.shape)
    return np.asarray(values * _blocks(scale, data.shape))


def lut_to_dense_of_bits(indices: Codes, lut: Floats, shape: Indices) -> Floats:
    """Return the entries of a table at indices packed into bytes, the lowest bits first."""
    wanted = sized(*shape.tolist())
    n, bits = math.prod(wanted), len(lut).bit_length() - 1
    if lut.ndim != 1 or len(lut) not in TABLE_SIZES or indices.dtype != np.uint8:
        raise ValueError(f"a table of shape {lut.shape}")
    if indices.shape != (-(-n * bits // 8),):
        raise ValueError(f"{indices.shape} bytes for {n} indices of {bits} bits")
    return np.asarray(lut[unpack_bits(indices, n, bits)].reshape(wanted))


def lut_to_dense(indices: Codes, lut: Floats, vector_axis: int | None = None) -> Floats:
    """Return entries of tables, one table per block of indices; an entry may be a vector."""
    n_entries, n_parts = lut.shape[-2:]
    if lut.ndim != indices.ndim + 2 or (indices.size and indices.max() >= n_entries):
        raise ValueError(f"indices of shape {indices.shape} in tables of {lut.shape}")
    tables = lut.reshape(-1, n_entries, n_parts)
    numbers = np.arange(len(tables)).reshape(lut.shape[:-2])
    table = _blocks(numbers, indices.shape)
    sized(*indices.shape, n_parts)
    entries = tables[table, indices.astype(np.int64)]
    if vector_axis is None:
        if n_parts != 1:
            raise ValueError("vectors without vector_axis")
        return np.asarray(entries[..., 0])
    axis = vector_axis + indices.ndim if vector_axis < 0 else vector_axis
    wanted = [n * n_parts if at == axis else n for at, n in enumerate(indices.shape)]
    return np.asarray(np.moveaxis(entries, -1, axis + 1).reshape(wanted))


def _along(values: NDArray[np.float32], shape: tuple[int, ...], axis: int) -> NDArray[np.float32]:
    """Return a scalar as it is, and a vector in a shape that lies along the axis."""
    if values.ndim == 0:
        return values
    if values.shape != (shape[axis],):
        raise ValueError(f"numbers of shape {values.shape} for an axis of {shape[axis]}")
    each = [1] * len(shape)
    each[axis] = -1
    return values.reshape(each)


def _blocks(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the values repeated in blocks until they have the shape."""
    if values.ndim != len(shape) or any(
        m < 1 or n % m for n, m in zip(shape, values.shape, strict=True)
    ):
        raise ValueError(f"blocks of shape {values.shape} in a tensor of {shape}")
    for axis, n in enumerate(shape):
        values = np.repeat(values, n // values.shape[axis], axis)
    return values


OPERATIONS = (
    operation(constexpr_affine_dequantize),
    operation(constexpr_blockwise_shift_scale, opsets=FROM_IOS18),
    operation(lut_to_dense_of_bits, "constexpr_lut_to_dense", BEFORE_IOS18),
    operation(lut_to_dense, "constexpr_lut_to_dense", FROM_IOS18),
)
