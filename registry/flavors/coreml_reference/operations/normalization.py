"""Normalisation by means and variances."""

import math

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.signatures import Floats, operations
from registry.flavors.coreml_reference.values import expect_shape

Float = NDArray[np.float32]


def batch_norm(
    x: Floats,
    mean: Floats,
    variance: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
    epsilon: float = 1e-5,
) -> Floats:
    """Normalise by given means and variances of the channels (axis 1)."""
    each = [x.shape[1] if axis == 1 else 1 for axis in range(x.ndim)]
    scale = np.float32(1) / np.sqrt(_over(variance, each) + np.float32(epsilon))
    return _shifted((x - _over(mean, each)) * scale, gamma, beta, each)


def layer_norm(
    x: Floats,
    axes: tuple[int, ...],
    gamma: Floats | None = None,
    beta: Floats | None = None,
    epsilon: float = 1e-5,
) -> Floats:
    """Normalise by mean and variance along axes; gamma and beta have their sizes."""
    chosen = tuple(axis + x.ndim if axis < 0 else axis for axis in axes)
    if list(chosen) != sorted(set(chosen)):
        raise ValueError(f"axes {axes} that are not in order")
    away = x - x.mean(axis=chosen, keepdims=True)
    variance = (away * away).mean(axis=chosen, keepdims=True)
    each = [n if axis in chosen else 1 for axis, n in enumerate(x.shape)]
    normal = np.asarray(away / np.sqrt(variance + np.float32(epsilon)))
    return _shifted(normal, gamma, beta, each, tuple(x.shape[axis] for axis in chosen))


def _shifted(
    normal: Float,
    gamma: Float | None,
    beta: Float | None,
    each: list[int],
    shape: tuple[int, ...] | None = None,
) -> Float:
    scaled = normal if gamma is None else normal * _over(gamma, each, shape)
    return np.asarray(scaled if beta is None else scaled + _over(beta, each, shape))


def _over(parameter: Float, each: list[int], shape: tuple[int, ...] | None = None) -> Float:
    """Return a parameter, which must have a shape, in the shape that lies over the tensor."""
    expect_shape(parameter, *((math.prod(each),) if shape is None else shape))
    return parameter.reshape(each)


OPERATIONS = operations(
    batch_norm,
    layer_norm,
)
