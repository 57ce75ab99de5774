"""Stage `convert`: a validated candidate -> every artifact, compared and measured -> a version.

Each variant of each flavor is written from the native model, run on the backends of this machine,
compared with native (a gate row, which refuses beyond its limit) and measured at several batch
sizes. An artifact of lower precision beyond its limit is dropped, and its row says why. The golden
answers of the train run are decoded again from its files, and must be the same. Then the version is
registered with digests of every file and gets the alias `staging`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipelines import progress
from pipelines.method.rows import newest_step
from pipelines.parameters import FlavorParameters, PromotionParameters, described, parse
from pipelines.recipes.candidate import Candidate, load_candidate, write_files
from pipelines.recipes.checks import native_predictor
from pipelines.recipes.golden_answers import answers_gate
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.parity import N_PARITY_ROWS, Labels, Parity, parity_of
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from pipelines.templates.answer_fields import as_json
from pipelines.validate import TRAIN_RUN_TAG
from registry.backends import BACKENDS, LatencyCurve, measure
from registry.contract import ModelContract
from registry.database import opened_engine
from registry.errors import (
    ArtifactError,
    GateRefusedError,
    ParameterError,
    RunNotFoundError,
    UnsupportedModelError,
)
from registry.flavors import FLAVORS, FULL, Artifact, NativeModel
from registry.flavors.conversion import Conversion, conversion
from registry.flavors.native import NATIVE, native_path
from registry.flavors.parity import gate_name, limit
from registry.gates import GateRow
from registry.version_files import CURVES_FILE, RECORD_FILE, VersionFiles, digest_directory
from registry.version_rows import Version
from registry.versions import Registry

CLASSES = ("softmax", "states")
"""Objectives whose scores are one per class."""


@dataclass(frozen=True, slots=True)
class ConvertParameters:
    """Which validated candidate to convert."""

    validate_run: str = described("", "id of the finished validate run")


GROUPS = (ConvertParameters, PromotionParameters, FlavorParameters)


def convert(
    candidate: Candidate,
    record: Sequence[GateRow],
    evidence_run: str,
    registry: Registry,
    promotion: PromotionParameters,
    wanted: FlavorParameters,
    writing: Conversion,
) -> tuple[Version, str]:
    """Write, compare, measure and register; return the version and what became of `promote`.

    Args:
        writing: what writes the artifacts; its process may have been started before.
        evidence_run: the run that the version points to (`main`, or `validate` when run by hand);
            a retraining job finds its version by it.

    Raises:
        MLEngineError: the registry does not answer.
    """
    name = candidate.contract.model_id
    with stage_run("convert", name, promotion, wanted), progress.part("convert"):
        rows, curves = write_flavors(candidate, wanted, writing)
        log_metrics(
            {f"latency_ms.{c.flavor}.{c.variant}.{c.backend}.1": c.latency_ms[0] for c in curves}
        )
        log_metrics({row.gate: row.value for row in rows if row.value is not None})
        measured = json.dumps([asdict(c) for c in curves], indent=2)
        write_files(candidate.directory, [(CURVES_FILE, measured.encode())])
        digests = digest_directory(candidate.directory)
        answers = answers_gate(VersionFiles(name, 0, candidate.directory, digests))
        complete = (*record, *rows, answers)
        context = tuple(candidate.dataset.rows.context)
        version = registry.register(
            candidate.directory, candidate.contract, complete, evidence_run, context, digests
        )
        registry.set_alias_staging(version.model_id, version.number)
        outcome = "staging"
        if promotion.promote:
            outcome = _promote(registry, version, evidence_run)
    return version, outcome


def write_flavors(
    candidate: Candidate, wanted: FlavorParameters, writing: Conversion
) -> tuple[tuple[GateRow, ...], list[LatencyCurve]]:
    """Write every artifact that can hold the model; return parity rows and latency curves.

    An artifact that cannot hold it leaves no file and a row that says why it is not applicable; so
    does one that no backend here can read, and one of a lower precision beyond its limit. There is
    no version without native.

    Raises:
        UnsupportedModelError: a native format that nothing here can load.
        ArtifactError: a native file that cannot be read.
    """
    contract, directory = candidate.contract, candidate.directory
    path = native_path(contract.native_format)
    native = NativeModel(contract.native_format, (directory / path).read_bytes())
    parity = _parity(candidate, native)
    rows: list[GateRow] = []
    curves: list[LatencyCurve] = []
    for artifact in progress.steps(wanted.artifacts(), "artifact"):
        try:
            if artifact != NATIVE:
                _check_wanted(artifact, wanted, {row.gate for row in rows if not row.applicable})
            files = writing.write(artifact, native, contract)
            measured, artifact_curves = _measure(artifact, files, parity, contract)
        except (UnsupportedModelError, ArtifactError) as exc:
            if artifact == NATIVE:
                raise
            reason = exc.reason if isinstance(exc, UnsupportedModelError) else str(exc)
            rows.append(_without(artifact, f"not written: {reason}"))
            continue
        if beyond := _beyond(artifact, measured):
            rows.append(_without(artifact, f"dropped: {beyond.line()}"))
            continue
        write_files(directory, list(files.items()))
        rows += measured
        curves += artifact_curves
    return tuple(rows), curves


def _parity(candidate: Candidate, native: NativeModel) -> Parity:
    recipe, rows = candidate.recipe, candidate.dataset.rows
    kind = kind_of(recipe.template)
    return parity_of(
        native,
        native_predictor(candidate),
        kind.sample(rows, N_PARITY_ROWS),
        may_miss=kind.may_miss,
        label=_label_of(candidate),
        fitted=candidate.fitted,
    )


def _label_of(candidate: Candidate) -> Labels | None:
    """Return what an answer says of a row: its signal, else its best class, None for a number."""
    recipe = candidate.recipe
    if recipe.template.is_action:
        return partial(_signal, candidate)
    is_class = recipe.objective(candidate.dataset.rows).loss in CLASSES
    return _best_class if is_class else None


def _signal(
    candidate: Candidate, rows: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.str_]:
    decoder, contract = candidate.decoder, candidate.contract
    decode = candidate.recipe.template.decode
    answers = decode(scores, newest_step(rows), {}, decoder, contract, ())
    return np.array([as_json(answer)["signal"] for answer in answers])


def _best_class(_: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.intp]:
    best: NDArray[np.intp] = np.argmax(scores, axis=1)
    return best


def _check_wanted(artifact: Artifact, wanted: FlavorParameters, absent: Collection[str]) -> None:
    """Refuse what was left out, cannot be written here, or has no artifact of full precision."""
    reason = None
    if artifact.flavor not in wanted.names():
        reason = f"flavors={wanted.flavors} leaves it out"
    elif missing := FLAVORS.get(artifact.flavor).unavailable_reason():
        reason = missing
    elif artifact.variant != FULL and gate_name(Artifact(artifact.flavor)) in absent:
        reason = f"there is no {Artifact(artifact.flavor)}"
    if reason:
        raise UnsupportedModelError(str(artifact), "this version", reason)


def _measure(
    artifact: Artifact, files: Mapping[str, bytes], parity: Parity, contract: ModelContract
) -> tuple[list[GateRow], list[LatencyCurve]]:
    """Compare an artifact on every backend that is here; time it where it could answer.

    Raises:
        UnsupportedModelError: no backend is here, so nothing can verify it.
    """
    rows: list[GateRow] = []
    curves = []
    for backend in (BACKENDS.get(name) for name in BACKENDS):
        if artifact.flavor not in backend.flavors or backend.unavailable_reason():
            continue
        predictor = backend.load(artifact, files, contract)
        rows += parity.compare(artifact, predictor, backend.name)
        if not backend.is_reference:
            curves.append(measure(predictor, artifact, backend.name, parity.reference))
    if not rows:
        reason = "no backend of this machine can verify it"
        raise UnsupportedModelError(str(artifact), contract.native_format, reason)
    return rows, curves


def _beyond(artifact: Artifact, rows: Sequence[GateRow]) -> GateRow | None:
    """Return the row for which an artifact of lower precision is dropped."""
    failed = [row for row in rows if not row.passed]
    return failed[0] if failed and artifact.variant != FULL else None


def _without(artifact: Artifact, reason: str) -> GateRow:
    """Return the row of an artifact that the version does not carry."""
    highest = limit(artifact)
    return GateRow(gate_name(artifact), None, "<=", highest, reason, applicable=False)


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

    which, promotion, wanted = parse(argv, __doc__, *GROUPS)
    if not which.validate_run:
        raise ParameterError("validate_run", "", "the id of a finished validate run")
    settings = platform_settings()
    try:
        run = mlflow.get_run(which.validate_run)
        stored = json.loads(mlflow.artifacts.load_text(f"runs:/{which.validate_run}/{RECORD_FILE}"))
        train_run = run.data.tags[TRAIN_RUN_TAG]
    except (MlflowException, KeyError, OSError) as exc:
        raise RunNotFoundError(which.validate_run, "record of a validate run") from exc
    with (
        conversion(wanted.libraries()) as writing,
        opened_engine(settings) as engine,
        TemporaryDirectory() as folder,
    ):
        writing.start()
        candidate = load_candidate(train_run, settings, Path(folder))
        record = [GateRow.from_json(row) for row in stored]
        registry = Registry(settings, engine)
        registry.check_numbers(candidate.contract.model_id)
        version, outcome = convert(
            candidate, record, which.validate_run, registry, promotion, wanted, writing
        )
    print(f"{version.model_id} version {version.number}: {outcome}", flush=True)


if __name__ == "__main__":
    exit_with(main)
