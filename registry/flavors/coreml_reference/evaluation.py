"""Evaluation: runs a checked program on one batch.

Each operation computes in float32 (integers in int64) and its outputs are rounded to the declared
type. Shapes are compared with the declared ones after every operation. The numbers of operations
and of elements of one run are limited, so that a loop that does not end is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.arguments import Operand, evaluated
from registry.flavors.coreml_reference.programs import Block, Program, Step
from registry.flavors.coreml_reference.values import TensorType, rounded

MOST_STEPS = 200_000
"""Operations of one run, those of every turn of a loop counted."""
MOST_ELEMENTS = 2**34
"""Elements of all results of one run."""

Values = dict[str, NDArray[Any]]


class _Budget:
    """How many operations a run may still evaluate, and how many elements it may still make."""

    def __init__(self) -> None:
        self._steps, self._elements = MOST_STEPS, MOST_ELEMENTS

    def spend(self, results: Sequence[NDArray[Any]] = ()) -> None:
        self._steps -= 1
        self._elements -= sum(result.size for result in results)
        if self._steps < 0:
            raise UnreadableArtifactError(FLAVOR, f"more than {MOST_STEPS} operations in a run")
        if self._elements < 0:
            raise UnreadableArtifactError(FLAVOR, f"more than {MOST_ELEMENTS} elements in a run")


def run_program(program: Program, inputs: Mapping[str, NDArray[Any]]) -> Values:
    """Return every output of a program by name, as float32, int64 or bool.

    Raises:
        UnreadableArtifactError: inputs of an operation do not fit together, or a result is not of
            the declared shape.
    """
    values: Values = {}
    for name, kind in program.inputs:
        _store(values, name, kind, inputs[name], "input")
    results = _run(program.block, values, _Budget())
    return {name: found for (name, _), found in zip(program.outputs, results, strict=True)}


def _run(block: Block, values: Values, budget: _Budget) -> list[NDArray[Any]]:
    for step in block.steps:
        results = _run_loop(step, values, budget) if step.blocks else _run_step(step, values)
        budget.spend(results)
        if len(results) != len(step.outputs):
            cause = f"{step.type} gives {len(results)} values, not {len(step.outputs)}"
            raise UnreadableArtifactError(FLAVOR, cause)
        for (name, kind), result in zip(step.outputs, results, strict=True):
            _store(values, name, kind, result, step.type)
    return [_value(values, output) for output in block.outputs]


def _run_step(step: Step, values: Values) -> list[NDArray[Any]]:
    arguments = dict(step.constants)
    for name, variable in step.variables.items():
        if isinstance(variable, tuple):
            arguments[name] = [_value(values, part) for part in variable]
        else:
            arguments[name] = _value(values, variable)
    assert step.operation is not None  # only a loop has blocks
    found = evaluated(step.operation, arguments, step.outputs[0][0])
    return [np.asarray(one) for one in (found if isinstance(found, list | tuple) else [found])]


def _run_loop(step: Step, values: Values, budget: _Budget) -> list[NDArray[Any]]:
    condition, body = step.blocks
    state = [_value(values, part) for part in step.variables["loop_vars"]]
    while True:
        budget.spend()
        (goes_on,) = _run_inside(condition, state, values, budget)
        if goes_on.size != 1:
            raise UnreadableArtifactError(FLAVOR, f"while_loop: a condition of {goes_on.shape}")
        if not goes_on.item():
            return state
        state = _run_inside(body, state, values, budget)


def _run_inside(
    block: Block, state: list[NDArray[Any]], values: Values, budget: _Budget
) -> list[NDArray[Any]]:
    inside = dict(values)
    for (name, kind), value in zip(block.inputs, state, strict=True):
        _store(inside, name, kind, value, "while_loop")
    return _run(block, inside, budget)


def _value(values: Values, operand: Operand) -> NDArray[Any]:
    return values[operand] if isinstance(operand, str) else operand


def _store(values: Values, name: str, kind: TensorType, result: NDArray[Any], place: str) -> None:
    if not kind.fits(result.shape):
        cause = f"{place} {shown(name)} has shape {result.shape}, declared is {kind}"
        raise UnreadableArtifactError(FLAVOR, cause)
    values[name] = rounded(result, kind.dtype)
