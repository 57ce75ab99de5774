"""Backend `cpu`: every machine has it.

`onnx` runs in onnxruntime on one thread (a second one does not help a single row). `native` runs
in the library that made the model: XGBoost's Booster, or a `torch.export` program. Inputs are
expected as the contract says (the caller checks); scores come back float32 `(sample, score)`.

A `.pt2` file is a program. It is accepted only from this platform's own convert stage: the caller
has compared its digest with the one recorded at registration before `load` sees the bytes.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from registry.backends import Predictor
from registry.contract import ModelContract
from registry.errors import UnreadableArtifactError, UnsupportedModelError

if TYPE_CHECKING:
    import onnxruntime as ort
    import xgboost as xgb

CHUNK_ROWS = 512
"""Windowed models see at most this many rows at once: their intermediate results for thousands of
rows fall out of the processor's cache."""

THREADS = 2
"""Threads of XGBoost for large batches."""


class Cpu:
    """The processor."""

    name = "cpu"
    flavors = ("onnx", "native")

    def unavailable_reason(self) -> str | None:
        """Return None: it is always here."""
        return None

    def load(self, flavor: str, payload: bytes, contract: ModelContract) -> Predictor:
        """Return a predictor for an `onnx` or `native` artifact.

        Raises:
            UnreadableArtifactError: the bytes are not what the flavor and the contract say.
            UnsupportedModelError: a flavor or native format that this backend does not run.
        """
        if flavor == "onnx":
            return _OnnxPredictor(payload)
        if flavor == "native" and contract.native_format == "xgboost-ubj":
            return _BoosterPredictor(payload)
        raise UnsupportedModelError(
            flavor, contract.native_format, f"backend {self.name!r} does not run it"
        )


class _OnnxPredictor:
    def __init__(self, payload: bytes) -> None:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as failures

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; warnings about unused initialisers are noise
        known = (
            failures.Fail,
            failures.InvalidProtobuf,
            failures.InvalidGraph,
            failures.InvalidArgument,
            failures.NotImplemented,
            failures.RuntimeException,
        )
        try:
            self._session: ort.InferenceSession = ort.InferenceSession(
                payload, options, providers=["CPUExecutionProvider"]
            )
        except known as exc:
            raise UnreadableArtifactError("onnx", type(exc).__name__) from exc

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        if features.ndim == 2 or len(features) <= CHUNK_ROWS:
            return self._run(features)
        starts = range(0, len(features), CHUNK_ROWS)
        return np.concatenate([self._run(features[s : s + CHUNK_ROWS]) for s in starts])

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(["scores"], {"features": features})[0]
        return scores


class _BoosterPredictor:
    def __init__(self, payload: bytes) -> None:
        import xgboost as xgb

        try:
            self._booster: xgb.Booster = xgb.Booster({"nthread": THREADS})
            self._booster.load_model(bytearray(payload))
        except (xgb.core.XGBoostError, ValueError) as exc:
            raise UnreadableArtifactError("native", "not an XGBoost model") from exc

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = self._booster.inplace_predict(features, predict_type="margin", strict_shape=True)
        return np.asarray(scores, np.float32)


BACKEND = Cpu()
