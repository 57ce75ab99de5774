"""Backend `coreml_reference`: verifies Core ML packages on any machine, with numpy.

It stands in for Apple's hardware where a package is converted or tested; it is slow, and the router
never chooses it. `registry.flavors.coreml_reference` evaluates the package. Here its input and
output are compared with the contract, and a batch is cut into the chunks that the package takes.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from registry.backends import Predictor
from registry.contract import ModelContract, TensorSpec
from registry.errors import ShapeError, UnreadableArtifactError, UnsupportedModelError
from registry.flavors import Artifact
from registry.flavors.coreml_reference.models import Model, open_model

CHUNK_ROWS = 512
"""Windowed models see at most this many rows at once, as on the processor."""
PACKAGE = ".mlpackage"


class CoreMLReference:
    """The reference interpreter."""

    name = "coreml_reference"
    flavors = ("coreml",)
    is_reference = True

    def unavailable_reason(self) -> str | None:
        """Return None: numpy is all that it needs."""
        return None

    def load(
        self, artifact: Artifact, files: Mapping[str, bytes], contract: ModelContract
    ) -> Predictor:
        """Return a predictor for a Core ML package.

        The predictor raises ShapeError for features of another dtype or shape than the contract
        says; it does not look at their values. Scores that are not finite are given as they are.

        Raises:
            UnreadableArtifactError: the package is damaged, or is not what the contract says.
            UnevaluatedPackageError: it holds something that the interpreter does not know.
            UnsupportedModelError: another flavor.
        """
        if artifact.flavor not in self.flavors:
            reason = f"backend {self.name!r} evaluates: {', '.join(self.flavors)}"
            raise UnsupportedModelError(str(artifact), contract.native_format, reason)
        root = PurePosixPath(artifact.path(PACKAGE))
        members = {}
        for path, content in files.items():
            if not path.startswith(f"{root}/"):
                raise UnreadableArtifactError(artifact.flavor, f"{path} lies outside of {root}")
            members[path.removeprefix(f"{root}/")] = content
        model = open_model(members)
        _expect_contract(model, contract)
        return _ReferencePredictor(model, contract)


class _ReferencePredictor:
    """Checks the batch, cuts it into chunks and evaluates them one after another."""

    def __init__(self, model: Model, contract: ModelContract) -> None:
        self._model = model
        self._inputs = contract.inputs
        self._n_scores = contract.outputs.shape[1] or 0
        most = model.rows.high
        if len(contract.inputs.shape) > len(("sample", "feature")) or most is None:
            most = min(CHUNK_ROWS, most or CHUNK_ROWS)
        self._chunk_rows = most

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        row_shape = self._inputs.shape[1:]
        if features.shape[1:] != row_shape or features.dtype != np.float32:
            wanted = f"float32 of shape (n, {', '.join(map(str, row_shape))})"
            found = f"{features.dtype} of shape {features.shape}"
            raise ShapeError(self._inputs.name, wanted, found)
        starts = range(0, len(features), self._chunk_rows)
        parts = [self._model(features[at : at + self._chunk_rows]) for at in starts]
        return np.concatenate([np.empty((0, self._n_scores), np.float32), *parts])


def _expect_contract(model: Model, contract: ModelContract) -> None:
    """Refuse a package whose input or output is not the contract's: another model's."""
    for feature, spec, shape in (
        (model.input, contract.inputs, (None, *model.row_shape)),
        (model.output, contract.outputs, model.output_shape),
    ):
        is_float = feature.dtype in ("FLOAT32", "DOUBLE")  # trees alone have doubles
        if feature.name != spec.name or shape != spec.shape or not is_float:
            found = f"{feature.name} {feature.dtype} {_shown(shape)}"
            cause = f"it has {found}, the contract says {_described(spec)}"
            raise UnreadableArtifactError("coreml", cause)
    if model.rows.low != 1:
        raise UnreadableArtifactError("coreml", f"it takes batches of {model.rows} rows, not of 1")


def _described(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype.upper()} {_shown(spec.shape)}"


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in shape)})"


BACKEND = CoreMLReference()
