"""Arrays: models that are numbers and a formula, in safetensors, evaluated by numpy.

For algorithms whose library has no safe format of its own (scikit-learn and hmmlearn pickle). The
file names its array model in its metadata. The array model says which arrays there are, evaluates
them with numpy, and describes the same computation as an ONNX graph.

Extension point: one file per array model here, one line in `ARRAY_MODELS`, one line in
docs/flavors.md.

Guarantees of every array model:
- `read(stored).arrays()` equals what was stored, and `save_arrays` is deterministic;
- `read` refuses arrays of another name, dtype or shape, numbers that are not finite, and
  indices that lead outside an array;
- `__call__` and the graph of `add_to` agree as `registry.flavors.parity` demands of ONNX.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from registry.catalog import Catalog
from registry.errors import UnknownNameError, UnreadableArtifactError
from registry.flavors import NativeModel
from registry.flavors.graphs import Graph

HEADER_BYTES = 8
"""A safetensors file begins with the length of its JSON header."""


class StoredArrays:
    """The arrays of a file; each is taken once, and checked when it is taken."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)

    def take(self, name: str, dtype: type, *shape: int | None) -> NDArray[Any]:
        """Return an array of this dtype and shape; None is a dimension that may have any size.

        Raises:
            UnreadableArtifactError: it is missing, is another, or holds a number that is not
                finite.
        """
        if name not in self._arrays:
            raise UnreadableArtifactError("native", f"array {name!r} is missing")
        found = self._arrays.pop(name)
        sizes = zip(found.shape, shape, strict=False)
        fits = found.ndim == len(shape) and all(want in (None, size) for size, want in sizes)
        if found.dtype != dtype or not fits or 0 in found.shape:
            wanted = f"{np.dtype(dtype)} of shape {shape}"
            cause = f"array {name!r}: expected {wanted}, found {found.dtype} of {found.shape}"
            raise UnreadableArtifactError("native", cause)
        if not np.isfinite(found).all():
            raise UnreadableArtifactError("native", f"array {name!r} is not finite")
        return found

    def take_index(self, name: str, low: int, high: int, *shape: int | None) -> NDArray[np.int64]:
        """Return an int64 array whose values are all in [low, high)."""
        found = self.take(name, np.int64, *shape)
        if found.min() < low or found.max() >= high:
            cause = f"array {name!r}: expected numbers in [{low}, {high}), found {found.min()} to "
            raise UnreadableArtifactError("native", f"{cause}{found.max()}")
        return found

    def finish(self) -> None:
        """Refuse arrays that nobody took."""
        if self._arrays:
            cause = f"unknown arrays {', '.join(sorted(self._arrays))}"
            raise UnreadableArtifactError("native", cause)


class ArrayModel(Protocol):
    """A model that is arrays and a formula."""

    name: ClassVar[str]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`(feature,)` or `(step, feature)`."""
        ...

    @property
    def n_scores(self) -> int:
        """How many scores a row gets."""
        ...

    @classmethod
    def read(cls, stored: StoredArrays) -> "ArrayModel":
        """Return the model of these arrays.

        Raises:
            UnreadableArtifactError: they are not what this array model needs.
        """
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        ...

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores (n, n_scores), float32, for features (n, *row_shape)."""
        ...

    def add_to(self, graph: Graph, features: str, scores: str) -> None:
        """Add the operations that compute the tensor `scores` from the tensor `features`."""
        ...


ARRAY_MODELS: Catalog[type[ArrayModel]] = Catalog(
    "array model",
    {
        "clusters": "registry.flavors.arrays.clusters:ClusterStates",
        "forest": "registry.flavors.arrays.forest:Forest",
        "hmm": "registry.flavors.arrays.markov:MarkovFilter",
        "linear": "registry.flavors.arrays.linear:Linear",
        "scenarios": "registry.flavors.arrays.scenarios:Scenarios",
    },
)


def save_arrays(model: ArrayModel) -> NativeModel:
    """Return the model as a safetensors file that names its array model."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(values) for name, values in model.arrays().items()}
    return NativeModel("arrays", save(arrays, metadata={"kind": model.name}))


def open_arrays(payload: bytes) -> ArrayModel:
    """Return the model of a safetensors file that `save_arrays` made.

    Raises:
        UnreadableArtifactError: the bytes are not such a file, its array model is unknown, or
            its arrays are not what that needs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        stored = StoredArrays(load(payload))
        length = int.from_bytes(payload[:HEADER_BYTES], "little")
        header = json.loads(payload[HEADER_BYTES : HEADER_BYTES + length])
        found = ARRAY_MODELS.get(header.get("__metadata__", {}).get("kind", ""))
    except (SafetensorError, ValueError, KeyError) as exc:
        if isinstance(exc, UnknownNameError):
            raise UnreadableArtifactError("native", str(exc)) from exc
        raise UnreadableArtifactError("native", "not a safetensors file") from exc
    model = found.read(stored)
    stored.finish()
    return model
