"""Stage `convert`: a validated candidate -> every flavor, compared and measured -> a version.

Each flavor is written from the native model, run on the backends of this machine, compared with
native beyond what its limit allows (a gate row, which refuses), and measured at several batch
sizes. Then the version is registered with digests of every file and gets the alias `staging`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipelines.method.agreement import difference
from pipelines.parameters import PromotionParameters, described, parse
from pipelines.recipes.candidate import Candidate, load_candidate, write_files
from pipelines.recipes.inputs import kind_of
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from pipelines.validate import TRAIN_RUN_TAG
from registry.backends import BACKENDS, LatencyCurve, measure
from registry.database import opened_engine
from registry.errors import (
    GateRefusedError,
    ParameterError,
    RunNotFoundError,
    UnsupportedModelError,
)
from registry.flavors import FLAVORS, NativeModel
from registry.flavors.parity import LIMITS
from registry.gates import COMMON, GateRow
from registry.version_files import CURVES_FILE, RECORD_FILE, digest_directory
from registry.versions import Registry, Version

N_PARITY_ROWS = 2048


@dataclass(frozen=True, slots=True)
class ConvertParameters:
    """Which validated candidate to convert."""

    validate_run: str = described("", "id of the finished validate run")


GROUPS = (ConvertParameters, PromotionParameters)


def convert(
    candidate: Candidate,
    record: Sequence[GateRow],
    evidence_run: str,
    registry: Registry,
    promotion: PromotionParameters,
) -> tuple[Version, str]:
    """Write, compare, measure and register; return the version and what became of `promote`.

    Args:
        evidence_run: the run that the version points to (`main`, or `validate` when run by hand);
            a retraining job finds its version by it.

    Raises:
        MLEngineError: the registry does not answer.
    """
    with stage_run("convert", candidate.contract.model_id, promotion):
        rows, curves = write_flavors(candidate)
        log_metrics({f"latency_ms.{c.flavor}.{c.backend}.1": c.latency_ms[0] for c in curves})
        log_metrics({row.gate: row.value for row in rows if row.value is not None})
        measured = json.dumps([asdict(c) for c in curves], indent=2)
        write_files(candidate.directory, [(CURVES_FILE, measured.encode())])
        first, digests = (digest_directory(candidate.directory) for _ in range(2))
        complete = (*record, *rows, compare_readings(first, digests))
        context = tuple(candidate.dataset.rows.context)
        version = registry.register(
            candidate.directory, candidate.contract, complete, evidence_run, context, digests
        )
        registry.set_alias_staging(version.model_id, version.number)
        outcome = "staging"
        if promotion.promote:
            outcome = _promote(registry, version, evidence_run)
    return version, outcome


def write_flavors(candidate: Candidate) -> tuple[tuple[GateRow, ...], list[LatencyCurve]]:
    """Write every flavor that can hold the model; return parity rows and latency curves.

    A flavor that cannot hold it leaves no file and a row that says why it is not applicable; there
    is no version without native.

    Raises:
        UnsupportedModelError: a native format that nothing here can load.
    """
    contract, directory = candidate.contract, candidate.directory
    native_path = FLAVORS.get("native").file_name(contract.native_format)
    native = NativeModel(contract.native_format, (directory / native_path).read_bytes())
    kind = kind_of(candidate.recipe.template)
    sample = kind.sample(candidate.dataset.rows, N_PARITY_ROWS)
    rows, curves = [], []
    expected: NDArray[np.float32] | None = None
    for name in sorted(FLAVORS, key=lambda flavor: flavor != "native"):
        flavor = FLAVORS.get(name)
        try:
            payload = flavor.write(native, contract)
        except UnsupportedModelError as exc:
            if name == "native":
                raise
            rows.append(_without(name, exc))
            continue
        write_files(directory, [(flavor.file_name(contract.native_format), payload)])
        for backend in (BACKENDS.get(b) for b in BACKENDS):
            if name not in backend.flavors or backend.unavailable_reason():
                continue
            predictor = backend.load(name, payload, contract)
            scores = predictor(sample)
            expected = scores if expected is None else expected
            note = f"{len(sample)} rows on {backend.name} against native"
            worst = _parity(expected, scores)
            rows.append(GateRow(f"parity.{name}", worst, "<=", LIMITS[name], note))
            curves.append(measure(predictor, name, backend.name, sample))
    return tuple(rows), curves


def _parity(native: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """Return the difference; infinite where native has no number to agree with."""
    return difference(native, scores) if np.isfinite(native).any() else float("inf")


def _without(flavor: str, refusal: UnsupportedModelError) -> GateRow:
    """Return the row of a flavor that was not written."""
    return GateRow(
        f"parity.{flavor}", None, "<=", LIMITS[flavor], f"not written: {refusal}", applicable=False
    )


def compare_readings(first: Mapping[str, str], second: Mapping[str, str]) -> GateRow:
    """Return the gate of two readings from disk, which must give the same bytes."""
    changed = sum(first.get(name) != second.get(name) for name in {*first, *second})
    return COMMON.row("digests", float(changed), f"{len(first)} files hashed")


def _promote(registry: Registry, version: Version, evidence_run: str) -> str:
    try:
        registry.promote(
            version.model_id,
            version.number,
            actor="main",
            reason="promote=true",
            run_id=evidence_run,
        )
    except GateRefusedError as exc:
        return f"refused: {exc}"
    return "production"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    import mlflow
    from mlflow.exceptions import MlflowException

    which, promotion = parse(argv, __doc__, *GROUPS)
    if not which.validate_run:
        raise ParameterError("validate_run", "", "the id of a finished validate run")
    settings = platform_settings()
    try:
        run = mlflow.get_run(which.validate_run)
        stored = json.loads(mlflow.artifacts.load_text(f"runs:/{which.validate_run}/{RECORD_FILE}"))
        train_run = run.data.tags[TRAIN_RUN_TAG]
    except (MlflowException, KeyError, OSError) as exc:
        raise RunNotFoundError(which.validate_run, "record of a validate run") from exc
    with opened_engine(settings) as engine, TemporaryDirectory() as folder:
        candidate = load_candidate(train_run, settings, Path(folder))
        record = [GateRow.from_json(row) for row in stored]
        registry = Registry(settings, engine)
        version, outcome = convert(candidate, record, which.validate_run, registry, promotion)
    print(f"{version.model_id} version {version.number}: {outcome}", flush=True)


if __name__ == "__main__":
    exit_with(main)
