"""The `mlflow.pyfunc` loader of our versions: features in, decoded answers out.

`mlflow.pyfunc.load_model("models:/volatility_forecast@production").predict(frame)` returns what the
server would answer for the same features, one dictionary per row. It is for notebooks and MLflow's
own tools; serving does not use it. MLflow downloads the files itself and compares no digest, so no
program runs here: no `.pt2`, no TorchScript. The ONNX artifact runs; where the record says that
there is none, native, or another artifact of full precision that a backend of this machine runs.
Loading needs this repository on the import path, and no network.
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
from pipelines.templates.answer_fields import as_json
from registry.backends import BACKENDS, Backend
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

NO_PROGRAMS = ("onnx", "native", "coreml")
"""Flavors that may run here, the preferred one first. Of native formats some are programs."""


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
        backend, artifact = _chosen(record, contract)
        own = {name: content for name, content in files.items() if Artifact.of(name) == artifact}
        self._predictor = backend.load(artifact, own, contract)

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
        answers = self._template.decode(
            scores, newest_step(X), context, self._decoder, self._contract, self._refusals
        )
        return [as_json(answer) for answer in answers]

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
    _, artifact = _chosen(record, contract)
    paths = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    own = [name for name in paths if Artifact.of(name) == artifact]
    names = (JSON_FILE, ARRAYS_FILE, RECORD_FILE, *(own or [_main_file(artifact, contract)]))
    return DecodedModel({name: _read(folder, name) for name in names}, contract)


def _chosen(record: Sequence[GateRow], contract: ModelContract) -> tuple[Backend, Artifact]:
    """Return the artifact that runs here and the backend that runs it.

    Raises:
        MissingArtifactError: each artifact is a program, or has no hardware here.
    """
    for flavor in NO_PROGRAMS:
        artifact = Artifact(flavor)
        is_program = artifact == NATIVE and contract.native_format in PROGRAMS
        if is_program or not _is_carried(artifact, record):
            continue
        for backend in (BACKENDS.get(name) for name in BACKENDS):
            usable = not backend.is_reference and backend.unavailable_reason() is None
            if usable and flavor in backend.flavors:
                return backend, artifact
    reason = "a program is run only where its digest is checked, and nothing else runs here"
    raise MissingArtifactError(ONNX.path(".onnx"), reason)


def _is_carried(artifact: Artifact, record: Sequence[GateRow]) -> bool:
    """Return whether the record says that the version carries the artifact.

    A record from before there were variants says so of `onnx` alone, and only if it is absent.
    """
    rows = {row.gate: row for row in record}
    row = rows.get(gate_name(artifact), rows.get(f"parity.{artifact.flavor}"))
    if row is None:
        return artifact in (ONNX, NATIVE)
    return row.applicable


def _main_file(artifact: Artifact, contract: ModelContract) -> str:
    if artifact == NATIVE:
        return native_path(contract.native_format)
    return ONNX.path(".onnx") if artifact == ONNX else str(artifact)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as exc:
        raise MissingArtifactError(str(folder / name), "the version is incomplete") from exc
