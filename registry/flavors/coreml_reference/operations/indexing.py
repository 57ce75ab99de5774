"""Indexing: slices, gathers and scatters.

iOS 17 leaves open what an index below 0 or beyond the end gives. Here it raises.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.signatures import Indices, Numbers, Tensors, operations
from registry.flavors.coreml_reference.values import sized

Mode = Literal["add", "div", "max", "min", "mul", "sub", "update"]
Masks = tuple[bool, ...] | None


def gather(
    x: Numbers,
    indices: Indices,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Numbers:
    """Take slices at indices of an axis, row by row of the leading batch axes."""
    at = axis + x.ndim if axis < 0 else axis
    if not 0 <= batch_dims <= min(at, indices.ndim):
        raise ValueError(f"{batch_dims} batch axes")
    sized(*x.shape[:at], *indices.shape[batch_dims:], *x.shape[at + 1 :])
    return _gather(x, indices, at, batch_dims)


def gather_along_axis(
    x: Numbers, indices: Indices, axis: int = 0, validate_indices: bool = False
) -> Numbers:
    """Take the element at the index, at each place of indices."""
    sized(*indices.shape)
    return np.take_along_axis(x, _within(indices, x.shape[axis]), axis)


def gather_nd(
    x: Numbers, indices: Indices, batch_dims: int = 0, validate_indices: bool = False
) -> Numbers:
    """Take slices at tuples of indices, the last axis of indices; row by row of the batch axes."""
    depth = indices.shape[-1]
    if not 0 <= batch_dims < indices.ndim or batch_dims + depth > x.ndim:
        raise ValueError(f"{batch_dims} batch axes and {depth} indices of a rank of {x.ndim}")
    sized(*indices.shape[:-1], *x.shape[batch_dims + depth :])
    return _gather_nd(x, indices, batch_dims)


def scatter(
    data: Numbers,
    indices: Indices,
    updates: Numbers,
    mode: Mode,
    axis: int = 0,
    validate_indices: bool = False,
) -> Numbers:
    """Return the data with slices of an axis updated at indices."""
    if indices.ndim != 1:
        raise ValueError(f"indices of rank {indices.ndim}")
    at = axis + data.ndim if axis < 0 else axis
    place: tuple[Any, ...] = (*[slice(None)] * at, _within(indices, data.shape[at]))
    if updates.shape != data[place].shape:
        raise ValueError(f"updates of shape {updates.shape} for {data[place].shape}")
    return _scattered(data, place, updates, mode, len(np.unique(indices)) == len(indices))


def scatter_along_axis(
    data: Numbers,
    indices: Indices,
    updates: Numbers,
    mode: Mode,
    axis: int = 0,
    validate_indices: bool = False,
) -> Numbers:
    """Return the data with the element at the index updated, at each place of indices."""
    at = axis + data.ndim if axis < 0 else axis
    if indices.shape != updates.shape or indices.ndim != data.ndim:
        raise ValueError(f"updates of shape {updates.shape} at indices of {indices.shape}")
    places: list[Any] = list(np.indices(indices.shape, sparse=True))
    places[at] = _within(indices, data.shape[at])
    every: Any = np.broadcast_arrays(*places)
    flat = np.ravel_multi_index(every, data.shape)
    return _scattered(data, tuple(places), updates, mode, len(np.unique(flat)) == flat.size)


def slice_by_index(
    x: Tensors,
    begin: Indices,
    end: Indices,
    stride: Indices | None = None,
    begin_mask: Masks = None,
    end_mask: Masks = None,
    squeeze_mask: Masks = None,
) -> Tensors:
    """Return x[begin:end:stride]; masks ignore begin or end, or take the one at begin."""
    given = (begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if any(part is not None and len(part) != x.ndim for part in given):
        raise ValueError(f"a slice of another rank than {x.ndim}")
    picked: list[int | slice] = []
    for axis in range(x.ndim):
        first = None if begin_mask and begin_mask[axis] else int(begin[axis])
        if squeeze_mask and squeeze_mask[axis]:
            picked.append(first or 0)
            continue
        last = None if end_mask and end_mask[axis] else int(end[axis])
        picked.append(slice(first, last, None if stride is None else int(stride[axis])))
    return np.asarray(x[tuple(picked)])


def slice_by_size(x: Tensors, begin: Indices, size: Indices) -> Tensors:
    """Take so many from begin on per axis; -1 is all that are left."""
    if len(begin) != x.ndim or len(size) != x.ndim:
        raise ValueError(f"a slice of another rank than {x.ndim}")
    picked = []
    for first, n, length in zip(begin.tolist(), size.tolist(), x.shape, strict=True):
        start = first + length if first < 0 else first
        stop = length if n == -1 else start + n
        if not 0 <= start <= stop <= length:
            raise IndexError(f"{n} from {first} on of an axis of {length}")
        picked.append(slice(start, stop))
    return np.asarray(x[tuple(picked)])


def _within(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    if indices.size and (indices.min() < 0 or indices.max() >= length):
        raise IndexError(f"index {indices.min()} or {indices.max()} of an axis of {length}")
    return indices


def _gather(
    x: NDArray[Any], indices: NDArray[np.int64], axis: int, batch_dims: int
) -> NDArray[Any]:
    if batch_dims == 0:
        return np.asarray(np.take(x, _within(indices, x.shape[axis]), axis))
    rows = zip(x, indices, strict=True)
    return np.stack([_gather(row, at, axis - 1, batch_dims - 1) for row, at in rows])


def _gather_nd(x: NDArray[Any], indices: NDArray[np.int64], batch_dims: int) -> NDArray[Any]:
    if batch_dims == 0:
        at = np.moveaxis(indices, -1, 0)
        return np.asarray(x[tuple(_within(i, n) for i, n in zip(at, x.shape, strict=False))])
    rows = zip(x, indices, strict=True)
    return np.stack([_gather_nd(row, at, batch_dims - 1) for row, at in rows])


def _scattered(
    data: NDArray[Any], place: Any, updates: NDArray[Any], mode: Mode, is_once: bool
) -> NDArray[Any]:
    found = data.copy()
    if mode == "update":
        if not is_once:
            raise ValueError("an update of one place by several values")
        found[place] = updates
        return found
    if mode == "div" and data.dtype.kind == "i":
        raise ValueError("a division of integers")
    together: dict[str, np.ufunc] = {
        "add": np.add,
        "div": np.divide,
        "max": np.maximum,
        "min": np.minimum,
        "mul": np.multiply,
        "sub": np.subtract,
    }
    together[mode].at(found, place, updates)
    return found


OPERATIONS = operations(
    gather,
    gather_along_axis,
    gather_nd,
    scatter,
    scatter_along_axis,
    slice_by_index,
    slice_by_size,
)
