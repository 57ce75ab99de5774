"""Element by element: arithmetic, comparisons, logic, rounding, casts."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.signatures import (
    Anything,
    Bools,
    Floats,
    Numbers,
    Operation,
    OutputType,
    Tensors,
    operation,
    operations,
)
from registry.flavors.coreml_reference.values import sized

Compute = Callable[..., Any]


def _pair(name: str, compute: Compute) -> Operation:
    def evaluate(x: Numbers, y: Numbers) -> Numbers:
        sized(*np.broadcast_shapes(x.shape, y.shape))
        return np.asarray(compute(x, y))

    return operation(evaluate, name)


def _comparison(name: str, compute: Compute) -> Operation:
    def evaluate(x: Numbers, y: Numbers) -> Bools:
        sized(*np.broadcast_shapes(x.shape, y.shape))
        return np.asarray(compute(x, y))

    return operation(evaluate, name)


def _logic(name: str, compute: Compute) -> Operation:
    def evaluate(x: Bools, y: Bools) -> Bools:
        sized(*np.broadcast_shapes(x.shape, y.shape))
        return np.asarray(compute(x, y))

    return operation(evaluate, name)


def _single(name: str, compute: Compute) -> Operation:
    def evaluate(x: Floats) -> Floats:
        return np.asarray(compute(x))

    return operation(evaluate, name)


def _number(name: str, compute: Compute) -> Operation:
    def evaluate(x: Numbers) -> Numbers:
        return np.asarray(compute(x))

    return operation(evaluate, name)


def error_function(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the error function, exact to float32."""
    values = np.fromiter(map(math.erf, x.ravel().tolist()), np.float32, x.size)
    return values.reshape(x.shape)


def _nonzero(y: NDArray[Any]) -> NDArray[Any]:
    """Refuse an integer division by zero, whose result nothing defines."""
    if y.dtype.kind == "i" and not y.all():
        raise ZeroDivisionError("integer division by zero")
    return y


def _quotient(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Return x / y; of integers only where nothing is left over."""
    if x.dtype.kind == "f":
        return np.asarray(x / y)
    whole, rest = np.divmod(x, _nonzero(y))
    if rest.any():
        raise ValueError("a division of integers that leaves a rest")
    return np.asarray(whole)


def cast(x: Anything, dtype: OutputType) -> Anything:
    """Return the values in another type; from floats to integers towards zero."""
    if dtype == "bool":
        return np.asarray(x != 0)
    if dtype in ("fp16", "fp32"):
        return x.astype(np.float32)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("a cast of NaN or infinity to an integer")
    return x.astype(np.int64)


def clip(x: Floats, alpha: float, beta: float) -> Floats:
    """Return min(max(x, alpha), beta)."""
    return np.minimum(np.maximum(x, np.float32(alpha)), np.float32(beta))


def inverse(x: Floats, epsilon: float) -> Floats:
    """Return 1 / (x + epsilon)."""
    return np.asarray(np.float32(1) / (x + np.float32(epsilon)))


def log(x: Floats, epsilon: float) -> Floats:
    """Return the natural logarithm of x + epsilon."""
    return np.asarray(np.log(x + np.float32(epsilon)))


def power(x: Floats, y: Floats) -> Floats:
    """Return x to the power of y."""
    sized(*np.broadcast_shapes(x.shape, y.shape))
    return np.asarray(np.power(x, y))


def rsqrt(x: Floats, epsilon: float) -> Floats:
    """Return 1 / sqrt(x + epsilon)."""
    return np.asarray(np.float32(1) / np.sqrt(x + np.float32(epsilon)))


def logical_not(x: Bools) -> Bools:
    """Return the opposite."""
    return ~x


def select(cond: Bools, a: Tensors, b: Tensors) -> Tensors:
    """Return a where cond holds, else b."""
    sized(*np.broadcast_shapes(cond.shape, a.shape, b.shape))
    return np.where(cond, a, b)


def threshold(x: Floats, alpha: float) -> Floats:
    """Return max(x, alpha)."""
    return np.maximum(x, np.float32(alpha))


def identity(x: Tensors) -> Tensors:
    """Return the same values."""
    return x


OPERATIONS = (
    *(_pair(n, c) for n, c in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply))),
    *(_pair(n, c) for n, c in (("maximum", np.maximum), ("minimum", np.minimum))),
    _pair("floor_div", lambda x, y: np.floor_divide(x, _nonzero(y))),
    _pair("mod", lambda x, y: np.mod(x, _nonzero(y))),
    _pair("real_div", _quotient),
    operation(power, "pow"),
    _comparison("equal", np.equal),
    _comparison("not_equal", np.not_equal),
    _comparison("less", np.less),
    _comparison("less_equal", np.less_equal),
    _comparison("greater", np.greater),
    _comparison("greater_equal", np.greater_equal),
    _logic("logical_and", np.logical_and),
    _logic("logical_or", np.logical_or),
    _logic("logical_xor", np.logical_xor),
    _number("abs", np.abs),
    _number("sign", np.sign),
    _number("square", np.square),
    _single("ceil", np.ceil),
    _single("floor", np.floor),
    _single("round", np.round),
    _single("exp", np.exp),
    _single("exp2", np.exp2),
    _single("sqrt", np.sqrt),
    _single("sin", np.sin),
    _single("cos", np.cos),
    _single("erf", error_function),
    *operations(cast, clip, identity, inverse, log, logical_not, rsqrt, select, threshold),
)
