"""Arguments: what the inputs of an operation are bound to, checked against what it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.signatures import TYPE_NAMES, Input, Operation
from registry.flavors.coreml_reference.values import FLOATS, INTEGERS, TensorType, carried

Operand = str | NDArray[Any]
"""The name of a value that is computed, or a constant array."""

CONSTANT_TYPES: dict[type, tuple[str, ...]] = {
    bool: ("BOOL",),
    float: FLOATS,
    int: INTEGERS,
    str: ("STRING",),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that an input may be bound to; `value` is None until the program runs.

    A constant's value is in its stored form.
    """

    type: TensorType
    name: str
    value: str | NDArray[Any] | None = None


def operand(argument: Argument) -> Operand:
    """Return what stands for an argument at run time."""
    if isinstance(argument.value, np.ndarray):
        return carried(argument.value)
    if argument.value is not None or argument.type.dtype == "STRING":
        raise UnevaluatedPackageError("a text that is passed on")
    return argument.name


def bound_inputs(
    operation: Operation, given: Mapping[str, Sequence[Argument]]
) -> tuple[dict[str, Any], dict[str, Operand | tuple[Operand, ...]], str]:
    """Return an operation's constants and variables, and the type that its tensors share.

    Raises:
        UnevaluatedPackageError: an input that is not known, or of a type or value that is not.
        UnreadableArtifactError: an input is missing.
    """
    constants: dict[str, Any] = {}
    variables: dict[str, Operand | tuple[Operand, ...]] = {}
    shared: set[str] = set()
    for name in given:
        if name not in operation.inputs:
            raise UnevaluatedPackageError(f"input {shown(name)} of operation {operation.name}")
    for name, wanted in operation.inputs.items():
        if name not in given:
            if wanted.is_required:
                raise UnreadableArtifactError(FLAVOR, f"{operation.name} has no input {name}")
            continue
        arguments = given[name]
        _expect_domain(operation, wanted, arguments)
        if wanted.domain is not None and wanted.domain.is_shared:
            shared.update(argument.type.dtype for argument in arguments)
        if wanted.domain is None:
            constants[name] = _constant(operation, wanted, arguments[0])
        elif wanted.is_list:
            variables[name] = tuple(map(operand, arguments))
        elif isinstance(arguments[0].value, np.ndarray):
            stored = arguments[0].value
            constants[name] = stored if wanted.domain.is_stored else carried(stored)
        else:
            variables[name] = operand(arguments[0])
    if len(shared) > 1:
        types = ", ".join(sorted(shared))
        raise UnreadableArtifactError(FLAVOR, f"{operation.name} of different types: {types}")
    return constants, variables, next(iter(shared), "")


def expect_output_types(
    operation: Operation, constants: Mapping[str, Any], shared: str, declared: Sequence[TensorType]
) -> None:
    """Refuse declared outputs of another type than the operation gives."""
    wanted = operation.output.dtypes
    if operation.output.is_shared and shared:
        wanted = (shared,)
    for name, found in operation.inputs.items():
        if found.names_output_type and name in constants:
            wanted = (TYPE_NAMES[constants[name]],)
    for output in declared:
        if output.dtype not in wanted:
            cause = f"{operation.name} gives {', '.join(wanted)}; declared is {output}"
            raise UnreadableArtifactError(FLAVOR, cause)


def evaluated(operation: Operation, arguments: dict[str, Any], name: str) -> Any:
    """Return what an operation gives.

    Raises:
        UnreadableArtifactError: its inputs do not fit together.
    """
    place = f"{operation.name} {shown(name)}"
    try:
        with np.errstate(all="ignore"):
            return operation.evaluate(**arguments)
    except UnreadableArtifactError as exc:
        raise UnreadableArtifactError(FLAVOR, f"{place}: {exc.cause}") from exc
    except (ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as exc:
        first = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise UnreadableArtifactError(FLAVOR, f"{place}: {first}") from exc


def _expect_domain(operation: Operation, wanted: Input, arguments: Sequence[Argument]) -> None:
    dtypes = CONSTANT_TYPES[wanted.constant] if wanted.domain is None else wanted.domain.dtypes
    for argument in arguments:
        if argument.type.dtype not in dtypes:
            what = f"{wanted.name} of operation {operation.name} of type {argument.type.dtype}"
            raise UnevaluatedPackageError(what, dtypes)
    if not arguments or (len(arguments) > 1 and not wanted.is_list):
        what = f"{len(arguments)} values of input {wanted.name} of operation {operation.name}"
        raise UnevaluatedPackageError(what)


def _constant(operation: Operation, wanted: Input, argument: Argument) -> Any:
    what = f"{wanted.name} of operation {operation.name}"
    if argument.value is None:
        raise UnevaluatedPackageError(f"{what} that is not constant")
    if len(argument.type.shape) != wanted.is_vector:
        raise UnevaluatedPackageError(f"{what} of type {argument.type}")
    value: Any = argument.value
    if isinstance(value, np.ndarray):
        value = tuple(value.tolist()) if wanted.is_vector else value.item()
    if wanted.options and value not in wanted.options:
        raise UnevaluatedPackageError(f"{what} {shown(value)}", list(map(str, wanted.options)))
    return value
