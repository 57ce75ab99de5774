"""Programs: an ML Program, read and checked as a whole before it is evaluated.

`read_program` walks every block, also nested ones. When it returns, every operation is known, has
the inputs that it needs, of types that it takes, and names only what was computed before it;
constants are decoded. What is left for `registry.flavors.coreml_reference.evaluation` are shapes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.arguments import (
    Argument,
    Operand,
    bound_inputs,
    evaluated,
    expect_output_types,
    operand,
)
from registry.flavors.coreml_reference.operations import OPERATIONS
from registry.flavors.coreml_reference.signatures import OPSETS, Operation
from registry.flavors.coreml_reference.values import (
    TensorType,
    read_constant,
    read_type,
    rounded,
)
from registry.flavors.coreml_reference.weights import WeightFiles
from registry.flavors.coreml_reference.wire import Message

MAIN = "main"
VERSION = 1
PROGRAM_ATTRIBUTES = {"buildInfo"}
"""Notes of the converter; they change nothing."""
LOOP_BLOCKS = 2

Scope = dict[str, Argument]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that is evaluated at run time.

    `operation` is None for a loop, whose condition and body are `blocks` and whose state is the
    list `loop_vars`. A variable is a name, or the value itself where it is a constant in a list.
    """

    type: str
    operation: Operation | None
    constants: Mapping[str, Any]
    variables: Mapping[str, Operand | tuple[Operand, ...]]
    outputs: tuple[tuple[str, TensorType], ...]
    blocks: tuple["Block", ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Steps in order, with the names that come in and what goes out."""

    inputs: tuple[tuple[str, TensorType], ...]
    steps: tuple[Step, ...]
    outputs: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program: its inputs and outputs by name, its steps, its operations counted."""

    opset: str
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    block: Block
    operations: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What does not change while a program is read, and what is counted."""

    opset: str
    weights: WeightFiles
    counts: Counter[str] = field(default_factory=Counter)


def read_program(message: Message, weights: Mapping[str, bytes]) -> Program:
    """Return a program of which everything is known.

    Raises:
        UnevaluatedPackageError: it has an operation, a type or an option that is not known.
        UnreadableArtifactError: it contradicts itself or its weights.
    """
    if message.integer("version") != VERSION:
        raise UnevaluatedPackageError(f"version {message.integer('version')} of a program")
    if unknown := sorted(set(message.entries("attributes")) - PROGRAM_ATTRIBUTES):
        raise UnevaluatedPackageError(f"attribute {shown(unknown[0])} of a program")
    functions = message.entries("functions")
    if list(functions) != [MAIN]:
        raise UnevaluatedPackageError(f"functions {shown(sorted(functions))}", [MAIN])
    function = functions[MAIN]
    opset, blocks = function.text("opset"), function.entries("block_specializations")
    if opset not in OPSETS or list(blocks) != [opset]:
        raise UnevaluatedPackageError(f"operation set {shown(opset)}", OPSETS)
    reading = _Reading(opset, WeightFiles(weights))
    inputs = tuple(_named_types(function.messages("inputs")))
    scope = {name: Argument(kind, name) for name, kind in inputs}
    if blocks[opset].messages("inputs"):
        raise UnevaluatedPackageError("inputs of a function's block")
    block, types = _read_block(blocks[opset], scope, reading)
    reading.weights.finish()
    names = blocks[opset].many("outputs")
    outputs = tuple(zip(names, types, strict=True))
    return Program(opset, inputs, outputs, block, dict(reading.counts))


def _named_types(messages: Sequence[Message]) -> Iterator[tuple[str, TensorType]]:
    for message in messages:
        yield message.text("name"), read_type(message.message("type"))


def _read_block(
    message: Message, outside: Mapping[str, Argument], reading: _Reading
) -> tuple[Block, tuple[TensorType, ...]]:
    """Return a block, and the types of its outputs."""
    scope = dict(outside)
    inputs = tuple(_named_types(message.messages("inputs")))
    for name, kind in inputs:
        _define(scope, Argument(kind, name))
    steps = []
    for found in message.messages("operations"):
        step = _read_operation(found, scope, reading)
        if step is not None:
            steps.append(step)
    outputs = [_find(scope, name) for name in message.many("outputs")]
    types = tuple(output.type for output in outputs)
    return Block(inputs, tuple(steps), tuple(map(operand, outputs))), types


def _read_operation(message: Message, scope: Scope, reading: _Reading) -> Step | None:
    """Define the outputs of an operation; return the step, None where nothing is left to do."""
    kind = message.text("type")
    reading.counts[kind] += 1
    outputs = tuple(_named_types(message.messages("outputs")))
    if not outputs:
        raise UnreadableArtifactError(FLAVOR, f"operation {shown(kind)} gives nothing")
    attributes = message.entries("attributes")
    attributes.pop("name", None)
    if kind == "const":
        _define_constant(message, attributes, outputs, scope, reading)
        return None
    if kind == "while_loop":
        step = _read_loop(message, attributes, outputs, scope, reading)
    else:
        found = OPERATIONS.get((kind, reading.opset))
        if found is None:
            raise UnevaluatedPackageError(f"operation {shown(kind)} of {reading.opset}")
        if message.messages("blocks"):
            raise UnevaluatedPackageError(f"blocks of operation {kind}")
        given = _arguments(message, attributes, scope, reading)
        constants, variables, shared = bound_inputs(found, given)
        expect_output_types(found, constants, shared, [kind for _, kind in outputs])
        step = Step(kind, found, constants, variables, outputs)
        if found.is_constant:
            _define_decoded(step, scope)
            return None
    for name, output in outputs:
        _define(scope, Argument(output, name))
    return step


def _arguments(
    message: Message, attributes: Mapping[str, Message], scope: Scope, reading: _Reading
) -> dict[str, list[Argument]]:
    """Return what each input is bound to; constants may be written as attributes."""
    given = {}
    for name, argument in message.entries("inputs").items():
        given[name] = [
            _find(scope, binding.text("name"))
            if binding.chosen("binding") == "name"
            else _written(binding.message("value"), reading)
            for binding in argument.messages("arguments")
        ]
    if both := sorted(set(given) & set(attributes)):
        raise UnreadableArtifactError(FLAVOR, f"{shown(both[0])} is an input and an attribute")
    return given | {name: [_written(value, reading)] for name, value in attributes.items()}


def _written(message: Message, reading: _Reading) -> Argument:
    constant = read_constant(message, reading.weights)
    return Argument(constant.type, "", constant.value)


def _define_constant(
    message: Message,
    attributes: Mapping[str, Message],
    outputs: tuple[tuple[str, TensorType], ...],
    scope: Scope,
    reading: _Reading,
) -> None:
    if set(attributes) != {"val"} or message.messages("inputs") or len(outputs) != 1:
        raise UnevaluatedPackageError("a const that is not one value")
    ((name, kind),) = outputs
    constant = read_constant(attributes["val"], reading.weights)
    if constant.type != kind:
        cause = f"constant {shown(name)} is {constant.type} and declared as {kind}"
        raise UnreadableArtifactError(FLAVOR, cause)
    _define(scope, Argument(kind, name, constant.value))


def _define_decoded(step: Step, scope: Scope) -> None:
    """Evaluate a compressed weight now: all that it takes is constant."""
    if step.variables or len(step.outputs) != 1:
        raise UnevaluatedPackageError(f"{step.type} of something that is computed")
    ((name, kind),) = step.outputs
    assert step.operation is not None  # a loop is no constant
    result: NDArray[Any] = np.asarray(evaluated(step.operation, dict(step.constants), name))
    if not kind.fits(result.shape):
        cause = f"{step.type} {shown(name)} has shape {result.shape}, declared is {kind}"
        raise UnreadableArtifactError(FLAVOR, cause)
    _define(scope, Argument(kind, name, rounded(result, kind.dtype)))


def _read_loop(
    message: Message,
    attributes: Mapping[str, Message],
    outputs: tuple[tuple[str, TensorType], ...],
    scope: Scope,
    reading: _Reading,
) -> Step:
    """Return a loop whose condition and body agree with its state in number and type."""
    given = _arguments(message, attributes, scope, reading)
    if set(given) != {"loop_vars"} or len(message.messages("blocks")) != LOOP_BLOCKS:
        raise UnevaluatedPackageError(f"while_loop with inputs {shown(sorted(given))}")
    state = given["loop_vars"]
    (condition, decided), (body, made) = (
        _read_block(block, scope, reading) for block in message.messages("blocks")
    )
    types = [argument.type.dtype for argument in state]
    for found in (condition.inputs, body.inputs, outputs):
        if [kind.dtype for _, kind in found] != types:
            raise UnreadableArtifactError(FLAVOR, "a while_loop changes the types of its state")
    if [kind.dtype for kind in made] != types or [kind.dtype for kind in decided] != ["BOOL"]:
        raise UnreadableArtifactError(FLAVOR, "a while_loop changes the types of its state")
    variables = {"loop_vars": tuple(map(operand, state))}
    return Step("while_loop", None, {}, variables, outputs, (condition, body))


def _find(scope: Mapping[str, Argument], name: str) -> Argument:
    if name not in scope:
        raise UnreadableArtifactError(FLAVOR, f"{shown(name)} is used before it is computed")
    return scope[name]


def _define(scope: Scope, argument: Argument) -> None:
    if not argument.name or argument.name in scope:
        raise UnreadableArtifactError(FLAVOR, f"{shown(argument.name)} is computed twice")
    scope[argument.name] = argument
