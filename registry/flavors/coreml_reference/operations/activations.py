"""Activations of neural networks."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.operations.elementwise import error_function
from registry.flavors.coreml_reference.signatures import Floats, operations

Activation = Literal["linear", "relu", "sigmoid", "tanh"]
"""Activations inside a recurrent operation."""


def elu(x: Floats, alpha: float) -> Floats:
    """Return x above 0, else alpha (e^x - 1)."""
    return np.where(x > 0, x, np.float32(alpha) * np.expm1(np.minimum(x, 0)))


def gelu(
    x: Floats,
    mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT",
) -> Floats:
    """Return x times the normal distribution function of x, or an approximation."""
    if mode == "SIGMOID_APPROXIMATION":
        return np.asarray(x * sigmoid(np.float32(1.702) * x))
    if mode == "TANH_APPROXIMATION":
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))
    normal = 1 + error_function(x / np.float32(math.sqrt(2)))
    return np.asarray(np.float32(0.5) * x * normal)


def leaky_relu(x: Floats, alpha: float) -> Floats:
    """Return x from 0 on, else alpha x."""
    return np.where(x >= 0, x, np.float32(alpha) * x)


def relu(x: Floats) -> Floats:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


def relu6(x: Floats) -> Floats:
    """Return min(max(x, 0), 6)."""
    return np.minimum(np.maximum(x, 0), 6)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e^-x), without overflow."""
    return np.asarray(np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * x)))


def silu(x: Floats) -> Floats:
    """Return x times its sigmoid."""
    return x * sigmoid(x)


def softmax(x: Floats, axis: int = -1) -> Floats:
    """Return e^x over its sum along an axis."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def softplus(x: Floats) -> Floats:
    """Return log(1 + e^x), without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def tanh(x: Floats) -> Floats:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


def activate(x: NDArray[np.float32], name: Activation) -> NDArray[np.float32]:
    """Return the values of the activation that a recurrent operation names."""
    if name == "linear":
        return x
    return {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}[name](x)


OPERATIONS = operations(
    elu,
    gelu,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
