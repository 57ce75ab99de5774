"""Models: a whole package opened, with what it says of its input and its output.

Every package of ours takes one multi-array and gives one. For an ML Program the first dimension is
the batch, from 1 to a largest number of rows; a tree ensemble takes the features of one row at a
time, which is done here for all rows at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import (
    ShapeError,
    UnevaluatedPackageError,
    UnreadableArtifactError,
    shown,
)
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.evaluation import run_program
from registry.flavors.coreml_reference.packages import read_package
from registry.flavors.coreml_reference.programs import Program, read_program
from registry.flavors.coreml_reference.trees import count_nodes, read_trees
from registry.flavors.coreml_reference.values import TensorType
from registry.flavors.coreml_reference.wire import Message, read_message

SPECIFICATIONS = {"CoreML6": 7, "CoreML7": 8, "CoreML8": 9}
"""Operation set -> the first version of the model specification that has it."""
NEWEST_SPECIFICATION = 9

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Range:
    """Sizes that a dimension may have; no `high`: any number from `low` on."""

    low: int
    high: int | None

    def __str__(self) -> str:
        if self.low == self.high:
            return str(self.low)
        return f"{self.low} to {'any' if self.high is None else self.high}"

    def holds(self, size: int) -> bool:
        """Return whether the size is one of them."""
        return self.low <= size and (self.high is None or size <= self.high)


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or output as the package describes it; `sizes` is empty where it says none."""

    name: str
    dtype: str
    sizes: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A package that can be evaluated.

    `rows` is the batch it takes and `row_shape` the rest of its input's shape; `n_scores` is None
    where the program leaves it open. `operations` counts what it computes.
    """

    input: Feature
    output: Feature
    rows: Range
    row_shape: tuple[int, ...]
    output_shape: tuple[int | None, ...]
    operations: Mapping[str, int]
    evaluate: Callable[[NDArray[np.float32]], Scores]

    def __call__(self, features: NDArray[np.float32]) -> Scores:
        """Return the scores of a batch, finite or not.

        Raises:
            ShapeError: features of another type or shape, or more rows than the package takes.
            UnreadableArtifactError: the program contradicts the shapes it declares.
        """
        wanted = f"float32 of shape ({', '.join(map(str, (self.rows, *self.row_shape)))})"
        fits = features.ndim > 0 and self.rows.holds(len(features))
        if features.dtype != np.float32 or not fits or features.shape[1:] != self.row_shape:
            found = f"{features.dtype} of shape {features.shape}"
            raise ShapeError(self.input.name, wanted, found)
        return self.evaluate(features)


def open_model(members: Mapping[str, bytes]) -> Model:
    """Return the model of a package.

    Args:
        members: path inside the package -> content.

    Raises:
        UnreadableArtifactError: a member is missing, damaged or contradicts another.
        UnevaluatedPackageError: it holds something that the interpreter does not know.
    """
    package = read_package(members)
    message = read_message(package.model, "Model")
    version = message.integer("specificationVersion")
    if not 1 <= version <= NEWEST_SPECIFICATION:
        raise UnevaluatedPackageError(f"version {version} of the model specification")
    kind, description = message.chosen("Type"), message.message("description")
    given, made = _only(description, "input"), _only(description, "output")
    if kind == "mlProgram":
        program = read_program(message.message(kind), package.weights)
        if version < SPECIFICATIONS[program.opset]:
            cause = f"{program.opset} in version {version} of the model specification"
            raise UnreadableArtifactError(FLAVOR, cause)
        return _program_model(program, given, made)
    if package.weights:
        raise UnreadableArtifactError(FLAVOR, "a tree ensemble has no weight files")
    if description.text("predictedFeatureName") != made.name:
        cause = f"it predicts {shown(description.text('predictedFeatureName'))}"
        raise UnreadableArtifactError(FLAVOR, f"{cause} but gives {shown(made.name)}")
    return _tree_model(message.message(kind), given, made)


def _only(description: Message, side: str) -> Feature:
    """Return the only input, or the only output, of a model."""
    found = description.messages(side)
    if len(found) != 1:
        names = [feature.text("name") for feature in found]
        raise UnevaluatedPackageError(f"{len(found)} {side}s ({shown(names)}) instead of one")
    kind = found[0].message("type")
    if kind.chosen("Type") == "doubleType":
        return Feature(found[0].text("name"), "DOUBLE", (Range(1, 1),))
    array = kind.message("multiArrayType")
    return Feature(found[0].text("name"), array.text("dataType"), _sizes(array))


def _sizes(array: Message) -> tuple[Range, ...]:
    shape = array.many("shape")
    if not array.has("shapeRange"):
        ranges = tuple(Range(size, size) for size in shape)
    else:
        ranges = tuple(
            Range(
                size.integer("lowerBound"),
                None if size.integer("upperBound") < 0 else size.integer("upperBound"),
            )
            for size in array.message("shapeRange").messages("sizeRanges")
        )
    fit = len(ranges) == len(shape) and all(
        size >= 1 and each.holds(size) for size, each in zip(shape, ranges, strict=True)
    )
    if not fit:
        raise UnreadableArtifactError(FLAVOR, f"a multi-array of shape {shown(list(shape))}")
    return ranges


def _program_model(program: Program, given: Feature, made: Feature) -> Model:
    """Return the model of a program whose description says the same as the program itself."""
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        counts = f"{len(program.inputs)} inputs and {len(program.outputs)} outputs"
        raise UnevaluatedPackageError(f"a program of {counts} instead of one each")
    ((_, taken),), ((_, produced),) = program.inputs, program.outputs
    for feature, (name, kind) in ((given, program.inputs[0]), (made, program.outputs[0])):
        if feature.name != name or feature.dtype != kind.dtype:
            cause = f"{shown(feature.name)} is {feature.dtype} in the description"
            raise UnreadableArtifactError(
                FLAVOR, f"{cause} and {shown(name)} {kind} in the program"
            )
    if not given.sizes:
        raise UnreadableArtifactError(FLAVOR, f"{shown(given.name)} is described without a shape")
    rows, *rest = _agreeing(given, taken)
    _agreeing(made, produced)
    row_shape = tuple(size.low for size in rest)
    if any(size.low != size.high for size in rest):
        raise UnevaluatedPackageError("an input with several open dimensions")

    def evaluate(features: NDArray[np.float32]) -> Scores:
        return run_program(program, {given.name: features})[made.name]

    shape = produced.shape
    return Model(given, made, rows, row_shape, shape, program.operations, evaluate)


def _agreeing(feature: Feature, kind: TensorType) -> tuple[Range, ...]:
    """Return the sizes of a feature; the description may leave out those of an output."""
    sizes = feature.sizes or tuple(Range(n or 1, n) for n in kind.shape)
    fit = len(sizes) == len(kind.shape) and all(
        n is None or (each.low, each.high) == (n, n)
        for each, n in zip(sizes, kind.shape, strict=True)
    )
    if not fit or not sizes:
        described = ", ".join(map(str, sizes))
        cause = f"{shown(feature.name)} has shape ({described}) in the description"
        raise UnreadableArtifactError(FLAVOR, f"{cause} and is {kind} in the program")
    return sizes


def _tree_model(message: Message, given: Feature, made: Feature) -> Model:
    if given.dtype not in ("FLOAT32", "DOUBLE") or made.dtype not in ("FLOAT32", "DOUBLE"):
        raise UnevaluatedPackageError(f"a tree ensemble of {given.dtype} that gives {made.dtype}")
    if len(given.sizes) != 1 or given.sizes[0].low != given.sizes[0].high:
        raise UnevaluatedPackageError("a tree ensemble whose input is not a vector")
    trees = read_trees(message, given.sizes[0].low)
    if made.sizes and made.sizes != (Range(trees.n_scores, trees.n_scores),):
        described = ", ".join(map(str, made.sizes))
        cause = f"{trees.n_scores} scores of trees, described as ({described})"
        raise UnreadableArtifactError(FLAVOR, cause)
    row_shape, shape = (given.sizes[0].low,), (None, trees.n_scores)
    return Model(given, made, Range(1, None), row_shape, shape, count_nodes(message), trees)
