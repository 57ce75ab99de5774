"""The `mlflow.pyfunc` loader of our versions: features in, decoded answers out.

`mlflow.pyfunc.load_model("models:/volatility_forecast@production").predict(frame)` returns what the
server would answer for the same features, one dictionary per row. It is for notebooks and MLflow's
own tools; serving does not use it. MLflow downloads the files itself and compares no digest. So the
ONNX artifact runs here; native runs only if the record says that ONNX cannot hold the model and
native is no program. Loading needs this repository on the import path, and no network.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.method.rows import newest_step
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES
from registry.backends import BACKENDS
from registry.contract import ModelContract
from registry.decoder import ARRAYS_FILE, JSON_FILE, Decoder
from registry.errors import (
    MissingArtifactError,
    MissingColumnsError,
    ShapeError,
    ValueRangeError,
)
from registry.flavors import Artifact
from registry.flavors.native import NATIVE, PROGRAMS, native_path
from registry.flavors.onnx import ONNX
from registry.flavors.parity import gate_name
from registry.gates import GateRow, refusals
from registry.version_files import CONTRACT_FILE, RECORD_FILE

if TYPE_CHECKING:
    import pandas as pd

BACKEND = "cpu"


class DecodedModel:
    """A version as a function from features to answers; safe from one thread at a time."""

    def __init__(self, files: Mapping[str, bytes], contract: ModelContract) -> None:
        self._contract = contract
        self._template = TEMPLATES.get(contract.template)
        self._may_miss = kind_of(self._template).may_miss
        self._decoder = Decoder.from_files({name: files[name] for name in (JSON_FILE, ARRAYS_FILE)})
        record = [GateRow.from_json(row) for row in json.loads(files[RECORD_FILE])]
        is_action = self._template.is_action
        self._refusals = refusals(record, "trade", contract.template) if is_action else ()
        artifact, path = _artifact(record, contract)
        self._predictor = BACKENDS.get(BACKEND).load(artifact, {path: files[path]}, contract)

    def predict(
        self,
        model_input: "pd.DataFrame | NDArray[Any]",
        params: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Return one decoded answer per row.

        Args:
            model_input: a frame with a column per feature, in any order; further columns are the
                template's context (for example `close`), and without them the fields that need
                it are None. Or an array (n, n_features), or (n, window, n_features) for a model
                over a window, with features in the contract's order.
            params: MLflow passes this; there are no parameters.

        Raises:
            MissingColumnsError: a frame without one of the features.
            ShapeError: an array of another shape, or a frame for a model over a window.
            ValueRangeError: a feature that is not finite in float32 (NaN is a missing value of a
                table, whose features are those of its layout, not the table's own columns).
        """
        if isinstance(model_input, np.ndarray):
            features, context = model_input, dict[str, NDArray[np.float64]]()
        else:
            features, context = self._split(model_input)
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused below
            X = np.ascontiguousarray(features, dtype=np.float32)
        unfit = np.isinf(X) if self._may_miss else ~np.isfinite(X)
        if unfit.any():
            first = np.argwhere(unfit)[0]
            name = self._contract.feature_names[first[-1]]
            raise ValueRangeError(f"row {first[0]}, {name}", float(X[tuple(first)]))
        scores = self._predictor(X)
        return self._template.decode(
            scores, newest_step(X), context, self._decoder, self._contract, self._refusals
        )

    def _split(
        self, frame: "pd.DataFrame"
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        if self._contract.window > 1:
            wanted = f"an array of shape (n, {self._contract.window}, n_features)"
            raise ShapeError("features", wanted, "a frame")
        names = list(self._contract.feature_names)
        if missing := [name for name in names if name not in frame.columns]:
            raise MissingColumnsError(f"model {self._contract.model_id!r}", missing)
        others = [str(name) for name in frame.columns if name not in names]
        context = {name: frame[name].to_numpy(dtype=np.float64) for name in others}
        return frame[names].to_numpy(dtype=np.float64), context


def _load_pyfunc(path: str) -> DecodedModel:
    """Return the model whose files lie under `path`; MLflow calls this.

    Raises:
        MissingArtifactError: a file of the version is not there.
    """
    folder = Path(path)
    contract = ModelContract.from_json(_read(folder, CONTRACT_FILE).decode())
    record = [GateRow.from_json(row) for row in json.loads(_read(folder, RECORD_FILE))]
    _, path = _artifact(record, contract)
    names = (JSON_FILE, ARRAYS_FILE, RECORD_FILE, path)
    return DecodedModel({name: _read(folder, name) for name in names}, contract)


def _artifact(record: Sequence[GateRow], contract: ModelContract) -> tuple[Artifact, str]:
    """Return the artifact that runs here, and its path.

    It is ONNX, or native where there cannot be an ONNX file and native is plain numbers.
    """
    absent = {row.gate for row in record if not row.applicable}
    has_onnx = not absent & {"parity.onnx", gate_name(ONNX)}  # the first is the older name
    if has_onnx or contract.native_format in PROGRAMS:
        return ONNX, ONNX.path(".onnx")
    return NATIVE, native_path(contract.native_format)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as exc:
        raise MissingArtifactError(str(folder / name), "the version is incomplete") from exc
