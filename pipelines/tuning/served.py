"""What a recipe costs a server: measured through a loaded artifact, never guessed.

The fit of the newest fold is written as the artifacts that every server here can load (`native`,
`onnx`), loaded by the backend, and called. The fastest one counts, as a server chooses it. With a
limit only trials that lead are measured: those better than every trial within the limits so far.
So the best trial within the limits is always among the measured ones, whatever the order.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import cast

from pipelines.architectures import Estimator
from pipelines.parameters import SourceParameters
from pipelines.recipes.contracts import contract_of
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.tuning.metrics import LATENCY, SIZE
from pipelines.tuning.parameters import SearchParameters
from registry.backends import BACKENDS, measure
from registry.contract import Json
from registry.errors import ArtifactError, UnsupportedModelError
from registry.flavors import FLAVORS, Artifact
from registry.flavors.native import NATIVE

ARTIFACTS = (NATIVE, Artifact("onnx"))
BACKEND = "cpu"
ROUNDS = 3
"""Medians that are taken; the least counts, since other work on the machine only adds to one."""
DIGITS = 2
"""Significant digits of a latency: what is nearer than that is the same."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the fastest artifact of a fit costs: milliseconds per call, and its size in kB."""

    artifact: str
    latency_ms: float
    artifact_kb: float

    def to_json(self) -> dict[str, Json]:
        """Return it as a trial keeps it."""
        return asdict(self)


def served(recipe: Recipe, dataset: Dataset, fitted: Estimator, n_rows: int) -> Served:
    """Write, load and time the artifacts of a fit, and return the fastest one.

    Args:
        n_rows: rows of a call.

    Raises:
        UnsupportedModelError, ArtifactError: not even the native one can be loaded.
    """
    return min(_each(recipe, dataset, fitted, n_rows), key=lambda found: found.latency_ms)


def _each(recipe: Recipe, dataset: Dataset, fitted: Estimator, n_rows: int) -> Iterator[Served]:
    source = SourceParameters(source=dataset.data.source)
    contract = contract_of(recipe, dataset, source, fitted)
    native = fitted.native()
    sample = kind_of(recipe.template).sample(dataset.rows, n_rows)
    backend = BACKENDS.get(BACKEND)
    for artifact in ARTIFACTS:
        try:
            files = FLAVORS.get(artifact.flavor).write(native, contract)
            predictor = backend.load(artifact, files, contract)
        except (UnsupportedModelError, ArtifactError):
            if artifact == NATIVE:
                raise
            continue
        curves = [measure(predictor, artifact, BACKEND, sample, (n_rows,)) for _ in range(ROUNDS)]
        latency = min(curve.latency_ms[0] for curve in curves)
        size = sum(len(content) for content in files.values())
        yield Served(str(artifact), float(f"{latency:.{DIGITS}g}"), size / 1000)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a recipe may cost a server; infinite where nothing was asked.

    `n_rows`: rows of a call.
    """

    latency_ms: float = math.inf
    artifact_kb: float = math.inf
    n_rows: int = 1

    @classmethod
    def of(cls, asked: SearchParameters) -> "Limits":
        """Return the limits that a study asks for."""
        latency, size = asked.latency_ms or math.inf, asked.artifact_kb or math.inf
        return cls(latency, size, asked.latency_batch)

    @property
    def are_asked(self) -> bool:
        """Whether there is any."""
        return min(self.latency_ms, self.artifact_kb) < math.inf

    def excess(self, found: Mapping[str, Json]) -> dict[str, float]:
        """Return name of each limit -> the share by which a cost is beyond it; negative within."""
        limits = {LATENCY: self.latency_ms, SIZE: self.artifact_kb}
        asked = {name: limit for name, limit in limits.items() if limit < math.inf}
        return {name: cast(float, found[name]) / limit - 1 for name, limit in asked.items()}

    def hold(self, result: Mapping[str, Json]) -> bool:
        """Whether a trial was measured and is within all of them."""
        return LATENCY in result and all(share <= 0 for share in self.excess(result).values())

    def said(self) -> str:
        """Return the limits in words."""
        parts = []
        if self.latency_ms < math.inf:
            rows = "1 row" if self.n_rows == 1 else f"{self.n_rows:,} rows"
            parts.append(f"{self.latency_ms:g} ms for {rows}")
        if self.artifact_kb < math.inf:
            parts.append(f"{self.artifact_kb:g} kB")
        return " and ".join(parts)


NO_LIMITS = Limits()
