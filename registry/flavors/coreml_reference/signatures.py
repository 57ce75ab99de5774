"""Signatures: what an operation takes, read from the annotations of the function that evaluates it.

An operation is a plain function of arrays. Its annotations say which types each input may have, so
that a program is checked when it is loaded:

- `Tensors`, `Numbers`, `Floats`: inputs that all have one type, which is also the output's where
  that is annotated so (MIL writes `T` for it);
- `Indices`, `Bools`: inputs of a type of their own;
- `Codes`: constants in their stored form, for compressed weights;
- `int`, `float`, `bool`, tuples of them and `Literal`: constants, known when the program is loaded;
- `OutputType`: a constant that names the type of the output.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.values import FLOATS, INTEGERS
from registry.flavors.coreml_reference.weights import SUB_BYTE

OPSETS = ("CoreML6", "CoreML7", "CoreML8")
"""Operation sets of iOS 16, 17 and 18, and macOS 13, 14 and 15."""
BEFORE_IOS18, FROM_IOS18 = OPSETS[:2], OPSETS[2:]

TYPE_NAMES = {
    "bool": "BOOL",
    "fp16": "FLOAT16",
    "fp32": "FLOAT32",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "uint8": "UINT8",
    "uint16": "UINT16",
}
"""How operations name types in their own inputs."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Types that a tensor may have; those that are shared are all the same in one operation."""

    dtypes: tuple[str, ...]
    is_shared: bool = False
    is_stored: bool = False


Array = NDArray[Any]
Tensors = Annotated[Array, Domain((*FLOATS, *INTEGERS, "BOOL"), is_shared=True)]
Numbers = Annotated[Array, Domain((*FLOATS, *INTEGERS), is_shared=True)]
Floats = Annotated[NDArray[np.float32], Domain(FLOATS, is_shared=True)]
Bools = Annotated[NDArray[np.bool_], Domain(("BOOL",))]
Indices = Annotated[NDArray[np.int64], Domain(INTEGERS)]
Anything = Annotated[Array, Domain((*FLOATS, *INTEGERS, "BOOL"))]
Codes = Annotated[Array, Domain(("INT8", "UINT8", *SUB_BYTE), is_stored=True)]
Offsets = Annotated[Array, Domain(("INT8", "UINT8", *SUB_BYTE, *FLOATS), is_stored=True)]
OutputType = Literal["bool", "fp16", "fp32", "int8", "int16", "int32", "uint8", "uint16"]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an operation: tensors of a domain, or else a constant.

    `constant` is the Python type of a constant, `is_vector` whether it is a tuple of them, and
    `options` what it may be (none: anything). `is_list` is an input that takes several tensors.
    """

    name: str
    is_required: bool
    domain: Domain | None = None
    is_list: bool = False
    constant: type = NoneType
    is_vector: bool = False
    options: tuple[Any, ...] = ()

    @property
    def names_output_type(self) -> bool:
        """Whether the constant names the type of the output."""
        return self.options == get_args(OutputType)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its formula, its inputs by name, the domain of its outputs."""

    name: str
    evaluate: Callable[..., Any]
    inputs: Mapping[str, Input]
    output: Domain
    opsets: tuple[str, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it is evaluated once, when the program is loaded (compressed weights)."""
        return self.name.startswith("constexpr_")


def operation(
    evaluate: Callable[..., Any], name: str = "", opsets: tuple[str, ...] = OPSETS
) -> Operation:
    """Return the operation that a function evaluates, under its own name or another."""
    hints = get_type_hints(evaluate, include_extras=True)
    inputs = {
        parameter.name: _input(
            parameter.name, hints[parameter.name], parameter.default is inspect.Parameter.empty
        )
        for parameter in inspect.signature(evaluate).parameters.values()
    }
    output = _domain(hints["return"])
    if output is None:
        output = next(d for d in map(_domain, get_args(hints["return"])) if d is not None)
    return Operation(name or evaluate.__name__, evaluate, inputs, output, opsets)


def operations(*functions: Callable[..., Any]) -> tuple[Operation, ...]:
    """Return the operations that functions evaluate under their own names."""
    return tuple(operation(function) for function in functions)


def _input(name: str, hint: Any, is_required: bool) -> Input:
    hint = _without_none(hint)
    if (domain := _domain(hint)) is not None:
        return Input(name, is_required, domain)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Sequence:
        return Input(name, is_required, _domain(arguments[0]), is_list=True)
    if origin is Literal:
        return Input(name, is_required, constant=type(arguments[0]), options=arguments)
    if origin is tuple:
        return Input(name, is_required, constant=arguments[0], is_vector=True)
    return Input(name, is_required, constant=hint)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    return hint


def _domain(hint: Any) -> Domain | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((part for part in hint.__metadata__ if isinstance(part, Domain)), None)
