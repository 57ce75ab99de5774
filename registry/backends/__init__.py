"""Backends: hardware that executes artifacts.

Extension point: one file per kind of hardware here, one line in `BACKENDS`, one line in
docs/flavors.md; `tests/conformance/test_backends.py` then runs on it. Convert, score and serving
ask the same questions, so this stands in `registry`.

Guarantees of every backend:
- `unavailable_reason` is cheap, never raises, and names what is missing;
- `load` parses only the bytes it is given (the caller has checked their digest) and needs no
  class of this repository;
- a predictor is safe to call from one thread at a time and does not change its input.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from registry.catalog import Catalog
from registry.contract import ModelContract
from registry.errors import UnknownNameError
from registry.flavors import Artifact

BATCH_SIZES = (1, 16, 256, 2048)
MAX_SECONDS_PER_POINT = 0.15
NEVER_ANSWERS = "a reference interpreter verifies artifacts and never answers"


class Predictor(Protocol):
    """A loaded model: float32 features `(sample, [step,] feature)` -> float32 `(sample, score)`."""

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]: ...


class Backend(Protocol):
    """One kind of hardware, or an interpreter that stands in for one (`is_reference`).

    A reference interpreter verifies artifacts where their hardware is not; it never answers.
    """

    name: str
    flavors: tuple[str, ...]
    is_reference: bool

    def unavailable_reason(self) -> str | None:
        """Return the reason why this machine cannot use the backend; None when it can."""
        ...

    def load(
        self, artifact: Artifact, files: Mapping[str, bytes], contract: ModelContract
    ) -> Predictor:
        """Return a predictor for the artifact.

        Args:
            files: path inside the version -> content, as the flavor's `write` gave them.

        Raises:
            ArtifactError: the bytes cannot be parsed as this flavor.
            BackendUnavailableError: the hardware is not here.
        """
        ...


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """Median milliseconds per call at each batch size, measured on this machine."""

    flavor: str
    variant: str
    backend: str
    batch_sizes: tuple[int, ...]
    latency_ms: tuple[float, ...]

    def latency_at(self, n_rows: int) -> float:
        """Return the interpolated milliseconds for `n_rows`; linear beyond the last point."""
        last, last_ms = self.batch_sizes[-1], self.latency_ms[-1]
        if n_rows > last:
            return last_ms * n_rows / last
        at = bisect_left(self.batch_sizes, n_rows)  # numpy's takes ten times as long for one number
        if at == 0:
            return self.latency_ms[0]
        before, before_ms = self.batch_sizes[at - 1], self.latency_ms[at - 1]
        share = (n_rows - before) / (self.batch_sizes[at] - before)
        return before_ms + share * (self.latency_ms[at] - before_ms)


def measure(
    predictor: Predictor,
    artifact: Artifact,
    backend: str,
    sample: NDArray[np.float32],
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> LatencyCurve:
    """Measure a predictor at several batch sizes.

    Args:
        sample: at least one real input row; rows are repeated to fill a batch.

    Each point is the median of repeated calls for at most `MAX_SECONDS_PER_POINT`, after one
    call that is not counted.
    """
    medians = []
    for size in batch_sizes:
        batch = np.ascontiguousarray(np.resize(sample, (size, *sample.shape[1:])))
        predictor(batch)
        taken: list[float] = []
        while sum(taken) < MAX_SECONDS_PER_POINT and len(taken) < 50:
            started = perf_counter()
            predictor(batch)
            taken.append(perf_counter() - started)
        medians.append(float(np.median(taken)) * 1e3)
    return LatencyCurve(
        artifact.flavor, artifact.variant, backend, tuple(batch_sizes), tuple(medians)
    )


BACKENDS: Catalog[Backend] = Catalog(
    "backend",
    {
        "coreml_reference": "registry.backends.coreml_reference:BACKEND",
        "cpu": "registry.backends.cpu:BACKEND",
    },
)

NOT_BUILT: Mapping[str, str] = MappingProxyType(
    {
        "cuda_gpu": "this engine has no backend for NVIDIA GPUs yet",
        "metal_gpu": "this engine has no backend for Apple's GPU yet",
        "neural_engine": "this engine has no backend for Apple's Neural Engine yet",
    }
)
"""Hardware that callers may ask for by name and that nothing executes -> the reason."""


def absence(name: str) -> str | None:
    """Return the reason why nothing answers on the hardware of this name; None when it can.

    Raises:
        UnknownNameError: no hardware is called so.
    """
    if name not in BACKENDS and name in NOT_BUILT:
        return NOT_BUILT[name]
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, {*BACKENDS, *NOT_BUILT})
    backend = BACKENDS.get(name)
    return NEVER_ANSWERS if backend.is_reference else backend.unavailable_reason()
