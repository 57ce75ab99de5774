"""Backend `cpu`: every machine has it.

`onnx` runs in onnxruntime on one thread (a second one does not help a single row). `native` runs
in the library that made the model, or in numpy (`registry.backends.native_runs`), `torchscript` in
torch (`registry.backends.script_runs`). A predictor checks dtype and shape and answers an empty
batch itself: onnxruntime 1.32 ends the whole process when an LSTM gets no rows.

A `.pt2` file and a TorchScript file are programs. They are accepted only from this platform's own
convert stage: the caller has compared their digest with the one recorded at registration before
`load` sees the bytes.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from registry.backends import Predictor
from registry.backends.native_runs import NATIVE_RUNS, Run
from registry.backends.script_runs import load_script
from registry.contract import ModelContract
from registry.errors import ShapeError, UnreadableArtifactError, UnsupportedModelError
from registry.flavors import Artifact
from registry.flavors.native import NATIVE

CHUNK_ROWS = 512
"""Windowed models see at most this many rows at once: the intermediate results of thousands of
rows fall out of the processor's cache."""


class Cpu:
    """The processor."""

    name = "cpu"
    flavors = ("onnx", "native", "torchscript")
    is_reference = False

    def unavailable_reason(self) -> str | None:
        """Return None: it is always here."""
        return None

    def load(
        self, artifact: Artifact, files: Mapping[str, bytes], contract: ModelContract
    ) -> Predictor:
        """Return a predictor for an artifact of one file.

        The predictor raises ShapeError for features of another dtype or shape than the contract
        says; it does not look at their values.

        Raises:
            UnreadableArtifactError: the bytes are not what the flavor and the contract say.
            UnsupportedModelError: a flavor or native format that this backend does not run.
        """
        is_native = artifact.flavor == NATIVE.flavor
        name = f"{artifact} {contract.native_format}" if is_native else str(artifact)
        if name not in _LOADERS:
            reason = f"backend {self.name!r} runs: {', '.join(sorted(_LOADERS))}"
            raise UnsupportedModelError(str(artifact), contract.native_format, reason)
        if len(files) != 1:
            cause = f"it is one file, not {len(files)}"
            raise UnreadableArtifactError(artifact.flavor, cause)
        (payload,) = files.values()
        return _CpuPredictor(_LOADERS[name](payload, contract), contract)


class _CpuPredictor:
    """Checks the batch, cuts it into chunks and runs them one after another."""

    def __init__(self, run: Run, contract: ModelContract) -> None:
        self._run = run
        self._row_shape = contract.inputs.shape[1:]
        self._n_scores = contract.outputs.shape[1] or 0

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        if features.shape[1:] != self._row_shape or features.dtype != np.float32:
            wanted = f"float32 of shape (n, {', '.join(map(str, self._row_shape))})"
            raise ShapeError("features", wanted, f"{features.dtype} of shape {features.shape}")
        if len(features) == 0:
            return np.empty((0, self._n_scores), np.float32)
        if features.ndim == 2 or len(features) <= CHUNK_ROWS:
            return self._run(features)
        starts = range(0, len(features), CHUNK_ROWS)
        return np.concatenate([self._run(features[s : s + CHUNK_ROWS]) for s in starts])


def _load_onnx(payload: bytes, _: ModelContract) -> Run:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    known = (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
        failures.RuntimeException,
    )
    try:
        session = ort.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
    except known as exc:
        raise UnreadableArtifactError("onnx", type(exc).__name__) from exc
    names = [n.name for n in (*session.get_inputs(), *session.get_outputs())]
    if names != ["features", "scores"]:
        cause = f"its inputs and outputs are {', '.join(names)}, not features, scores"
        raise UnreadableArtifactError("onnx", cause)

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = session.run(["scores"], {"features": features})[0]
        return scores

    return run


_LOADERS: dict[str, Callable[[bytes, ModelContract], Run]] = {
    "onnx.fp32": _load_onnx,
    "torchscript.fp32": load_script,
    **{f"{NATIVE} {native_format}": load for native_format, load in NATIVE_RUNS.items()},
}

BACKEND = Cpu()
