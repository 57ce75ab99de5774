"""Values: the types of a program's tensors, and the constants written into it.

Between operations a tensor is carried as float32, int64 or bool, whatever its declared type:
`carried` turns a stored array into that form and `rounded` rounds to the declared type. A float16
overflow becomes infinite, as it does on hardware; an integer out of its range is refused.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.weights import SUB_BYTE, WeightFiles
from registry.flavors.coreml_reference.wire import Message

STORED: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "FLOAT16": np.dtype("<f2"),
    "FLOAT32": np.dtype("<f4"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
}
"""Types that a tensor may have, and how they are stored."""
FLOATS = ("FLOAT16", "FLOAT32")
INTEGERS = ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32")
ELEMENTS = 2**27
"""Largest number of elements of a tensor: 512 MiB of float32."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type of the elements, and shape; None is a dimension that may have any size."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape is of the type."""
        return len(shape) == len(self.shape) and all(
            want in (None, size) for want, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written into the program: a text, or an array in its stored form."""

    type: TensorType
    value: str | NDArray[Any]


def read_type(message: Message) -> TensorType:
    """Return the type of a tensor, or of a text (`STRING`, no dimension).

    Raises:
        UnevaluatedPackageError: a list, dictionary or state, or a shape of any rank.
        UnreadableArtifactError: rank and dimensions disagree.
    """
    if (chosen := message.chosen("type")) != "tensorType":
        raise UnevaluatedPackageError(f"a value of {chosen}")
    tensor = message.message("tensorType")
    dtype = tensor.text("dataType")
    if dtype not in STORED and dtype not in SUB_BYTE and dtype != "STRING":
        raise UnevaluatedPackageError(f"type {dtype or 'UNUSED_TYPE'}", sorted(STORED))
    shape = tuple(_size(dimension) for dimension in tensor.messages("dimensions"))
    if tensor.integer("rank") != len(shape):
        cause = f"a tensor of rank {tensor.integer('rank')} has {len(shape)} dimensions"
        raise UnreadableArtifactError(FLAVOR, cause)
    return TensorType(dtype, shape)


def read_constant(message: Message, weights: WeightFiles) -> Constant:
    """Return a value of the program: immediate, or from a weight file.

    Raises:
        UnevaluatedPackageError: a value of a kind that no operation here takes.
        UnreadableArtifactError: its content is not of its type.
    """
    kind = read_type(message.message("type"))
    shape = tuple(size for size in kind.shape if size is not None)
    if len(shape) != len(kind.shape):
        raise UnreadableArtifactError(FLAVOR, f"a constant of the open shape {kind}")
    if message.chosen("value") == "blobFileValue":
        blob = message.message("blobFileValue")
        stored = weights.take(blob.text("fileName"), blob.integer("offset"), kind.dtype, shape)
        return Constant(kind, stored)
    value = message.message("immediateValue")
    if (chosen := value.chosen("value")) != "tensor":
        raise UnevaluatedPackageError(f"a {chosen} as a value")
    tensor = value.message("tensor")
    form = tensor.chosen("value")
    content = tensor.message(form).many("values")
    if kind.dtype == "STRING":
        if form != "strings" or len(content) != 1 or shape:
            raise UnevaluatedPackageError("a text that is not a single one")
        return Constant(kind, str(content[0]))
    return Constant(kind, _immediate(form, content, kind, shape))


def carried(stored: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the form in which operations pass it on."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    return stored if stored.dtype.kind == "b" else stored.astype(np.int64)


def rounded(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return carried values rounded to a declared type.

    Raises:
        UnreadableArtifactError: they are of another kind, or integers out of its range.
    """
    wanted = STORED[dtype]
    if values.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if values.size and (values.min() < limits.min or values.max() > limits.max):
            raise UnreadableArtifactError(FLAVOR, f"an integer out of the range of {dtype}")
        return values.astype(np.int64, copy=False)
    if values.dtype.kind != wanted.kind:
        raise UnreadableArtifactError(FLAVOR, f"{values.dtype} where {dtype} is declared")
    if wanted.kind == "b":
        return values
    with np.errstate(over="ignore"):
        return values.astype(wanted).astype(np.float32, copy=False)


def sized(*shape: int) -> tuple[int, ...]:
    """Return a shape of a tensor that is about to be made.

    Raises:
        UnreadableArtifactError: a size is below 0, or there are more than `ELEMENTS` elements.
    """
    if min(shape, default=0) < 0 or math.prod(shape) > ELEMENTS:
        raise UnreadableArtifactError(FLAVOR, f"a tensor of shape {shown(shape)}")
    return shape


def expect_shape(parameter: NDArray[Any], *shape: int) -> None:
    """Refuse a parameter of another shape, which numpy might broadcast.

    Raises:
        ValueError: it has one.
    """
    if parameter.shape != shape:
        raise ValueError(f"a parameter of shape {parameter.shape} where {shape} is expected")


def _size(dimension: Message) -> int | None:
    if dimension.chosen("dimension") == "constant":
        return dimension.message("constant").integer("size")
    if dimension.message("unknown").is_set("variadic"):
        raise UnevaluatedPackageError("a shape of any rank")
    return None


def _immediate(form: str, content: Any, kind: TensorType, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array of an immediate value in its stored form."""
    forms = {"FLOAT32": "floats", "BOOL": "bools", **dict.fromkeys(INTEGERS, "ints")}
    if kind.dtype not in STORED:
        raise UnevaluatedPackageError(f"{kind.dtype} outside of a weight file")
    stored = STORED[kind.dtype]
    if form == "bytes" and stored.kind != "b":
        n, rest = divmod(len(content), stored.itemsize)
        values = np.frombuffer(content, stored) if not rest else np.empty(0)
    elif forms.get(kind.dtype) == form:
        n, values = len(content), _typed(content, kind.dtype)
    else:
        raise UnreadableArtifactError(FLAVOR, f"{form} as the content of {kind}")
    if n != math.prod(shape) or len(values) != n:
        raise UnreadableArtifactError(FLAVOR, f"{n} elements as the content of {kind}")
    return values.reshape(shape)


def _typed(content: Any, dtype: str) -> NDArray[Any]:
    try:
        return np.array(content, STORED[dtype])
    except OverflowError as exc:
        raise UnreadableArtifactError(FLAVOR, f"an integer out of the range of {dtype}") from exc
