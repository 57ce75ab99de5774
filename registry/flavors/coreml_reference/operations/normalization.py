"""Normalisation by means and variances."""

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.signatures import Floats, operations


def batch_norm(
    x: Floats,
    mean: Floats,
    variance: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    epsilon: float = 1e-5,
) -> Floats:
    """Normalise by given means and variances of the channels (axis 1)."""
    each = [1, -1] + [1] * (x.ndim - 2)
    scale = np.float32(1) / np.sqrt(variance + np.float32(epsilon))
    normal = (x - mean.reshape(each)) * scale.reshape(each)
    return _shifted(
        normal,
        None if gamma is None else gamma.reshape(each),
        None if beta is None else beta.reshape(each),
    )


def layer_norm(
    x: Floats,
    axes: tuple[int, ...],
    gamma: Floats | None = None,
    beta: Floats | None = None,
    epsilon: float = 1e-5,
) -> Floats:
    """Normalise by mean and variance along axes; gamma and beta have their sizes."""
    chosen = sorted(axis + x.ndim if axis < 0 else axis for axis in axes)
    each = [n if axis in chosen else 1 for axis, n in enumerate(x.shape)]
    away = x - x.mean(axis=tuple(chosen), keepdims=True)
    variance = (away * away).mean(axis=tuple(chosen), keepdims=True)
    normal = away / np.sqrt(variance + np.float32(epsilon))
    return _shifted(
        normal,
        None if gamma is None else gamma.reshape(each),
        None if beta is None else beta.reshape(each),
    )


def _shifted(
    normal: NDArray[np.float32],
    gamma: NDArray[np.float32] | None,
    beta: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    scaled = normal if gamma is None else normal * gamma
    return np.asarray(scaled if beta is None else scaled + beta)


OPERATIONS = operations(
    batch_norm,
    layer_norm,
)
