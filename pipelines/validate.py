"""Stage `validate`: a candidate -> metrics, pictures, a report, and the record of its gates.

Computes each gate's value and writes it beside its limit; `registry.gates` decides what the rows
mean. The record is `validation.json` in the run and, later, in the version.

A registered version can be validated again, on newer data or against a champion. What is measured
then is kept beside its record (`registry/validations.py`).
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sqlalchemy as sa

from pipelines import progress
from pipelines.parameters import JudgementParameters, described, parse
from pipelines.recipes import checks
from pipelines.recipes.candidate import Candidate, load_candidate
from pipelines.recipes.causality import worse
from pipelines.recipes.challenge import Challenge, challenge
from pipelines.recipes.combinatorial import judge_paths
from pipelines.recipes.evidence_files import evidence_files, log_evidence_files
from pipelines.recipes.excess import validated_excess_row
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import fit_decoders
from pipelines.recipes.registered import registered_candidate
from pipelines.recipes.rivals import with_rivals
from pipelines.recipes.selection_bias import among_trials
from pipelines.recipes.trial_family import count_trial
from pipelines.report import Evidence, pictures
from pipelines.report.gathering import gather, log_report
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from pipelines.templates import Evaluation
from registry import managed_models, validations, version_rows
from registry.artifacts import ArtifactCache
from registry.database import opened_engine
from registry.errors import ParameterError
from registry.gates import GateRow
from registry.settings import PlatformSettings
from registry.validations import Validation
from registry.version_files import GOLDEN_FILE, RECORD_FILE

TRAIN_RUN_TAG = "train_run_id"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of `validate`: its run, gate rows and evaluation, and the evidence of its page."""

    run_id: str
    record: tuple[GateRow, ...]
    evaluation: Evaluation
    challenge: Challenge | None
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ValidateParameters:
    """What to validate: the candidate of a train run, or a registered version."""

    train_run: str = described("", "id of the finished train run")
    model_name: str = described("", "registered model, to validate one of its versions again")
    version: int = described(0, "number of that version")
    read_from: str = described(
        "", "where its newest data are: empty means in its own source, store means in the bars held"
    )


GROUPS = (ValidateParameters, JudgementParameters)


def validate(
    candidate: Candidate,
    wanted: JudgementParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> Judgement:
    """Judge a candidate and log the judgement.

    Raises:
        MLEngineError: a champion that does not exist, or too little history to challenge it.
    """
    import mlflow

    with (
        stage_run("validate", candidate.contract.model_id, wanted) as run_id,
        progress.part("validate"),
    ):
        mlflow.set_tag(TRAIN_RUN_TAG, candidate.run_id)
        with progress.part("evaluation", 0.0, 0.6):
            evaluation = evaluate(candidate, engine)
        with progress.part("paths", 0.6, 0.75):
            evaluation = _with_paths(candidate, evaluation, wanted.paths)
        with progress.part("challenge", 0.75, 0.85):
            contest = _contest(candidate, wanted, settings, engine)
        with progress.part("checks", 0.85, 0.95):
            record = (
                checks.data_checks(candidate.dataset, kind_of(candidate.recipe.template)),
                *_recomputed(candidate),
                checks.golden_rows(candidate, *_golden(candidate)),
                *evaluation.gates,
                *checks.named_costs(candidate.recipe),
                *kind_of(candidate.recipe.template).plausible_data(candidate.dataset),
                *(contest.gates if contest else ()),
            )
        log_metrics(evaluation.metrics)
        mlflow.log_text(record_json(record), RECORD_FILE)
        log_evidence_files(evaluation.files)
        evidence = gather(candidate, evaluation, record, run_id)
        if contest:
            tables = dict(evidence.tables) | {"challenge": contest.table()}
            evidence = replace(evidence, tables=tables, champion=wanted.champion)
        pictures.log_pictures(evidence, pictures.OF_A_JUDGEMENT)
        pictures.log_gates(evidence)
        log_report(evidence)
    return Judgement(run_id, record, evaluation, contest, evidence)


def evaluate(candidate: Candidate, engine: sa.Engine) -> Evaluation:
    """Evaluate out-of-fold predictions, then count this recipe as a trial of its data.

    What the trials on the same data make of it is added to the template's evaluation.
    """
    recipe, dataset = candidate.recipe, candidate.dataset
    decoders = fit_decoders(recipe, dataset.rows, dataset.folds, candidate.oof)
    spec, interval = dataset.label_spec, candidate.contract.interval
    oof = with_rivals(candidate.oof, recipe, dataset)
    alone = recipe.template.evaluate(oof, decoders, spec, interval)
    excess = validated_excess_row(recipe.template, oof, decoders, recipe.horizon_bars)
    files = evidence_files(candidate, decoders, alone.book)
    alone = replace(alone, gates=(*alone.gates, excess), files=files)
    return among_trials(alone, count_trial(candidate, alone, engine))


def _with_paths(candidate: Candidate, evaluation: Evaluation, wanted: str) -> Evaluation:
    """Return the evaluation with the spread over combinatorial paths, where they are asked for."""
    interval = candidate.contract.interval
    found = judge_paths(candidate.recipe, candidate.dataset, wanted, interval)
    if found is None:
        return evaluation
    tables = dict(evaluation.tables) | {"paths": found.table}
    return replace(evaluation, metrics=dict(evaluation.metrics) | found.metrics, tables=tables)


def record_json(record: Sequence[GateRow]) -> str:
    """Return gate rows as they are stored."""
    return json.dumps([row.to_json() for row in record], indent=2)


def _recomputed(candidate: Candidate) -> tuple[GateRow, ...]:
    """Return `causality`, that of answers included, and `feature_parity`."""
    recipe, dataset = candidate.recipe, candidate.dataset
    kind, predict = kind_of(recipe.template), checks.native_predictor(candidate)
    rows = kind.checks(recipe, dataset)
    answers = kind.answers_causality(
        recipe, dataset, candidate.contract, candidate.decoder, predict
    )
    if answers is None:
        return rows
    return tuple(worse(row, answers) if row.gate == answers.gate else row for row in rows)


def _golden(candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
    content = (candidate.directory / GOLDEN_FILE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return stored["features"], stored["scores"]


def _contest(
    candidate: Candidate,
    wanted: JudgementParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> Challenge | None:
    if not wanted.champion:
        return None
    champion = ArtifactCache(settings, engine).fetch(candidate.contract.model_id, wanted.champion)
    return challenge(candidate, champion, wanted.trigger, wanted.challenge_bars)


def validate_version(
    which: ValidateParameters,
    wanted: JudgementParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> Judgement:
    """Judge a registered version again, and keep the judgement beside its record.

    Raises:
        NotFoundError: no such model, version or champion.
        ModelArchivedError: the model is archived.
        ParameterError: it would be compared with itself.
        MLEngineError: as `validate` and `registered_candidate`.
    """
    version = version_rows.get(engine, which.model_name, which.version)
    managed_models.check_not_archived(engine, which.model_name)
    if wanted.champion == which.version:
        raise ParameterError("champion", wanted.champion, "another version than the validated one")
    if wanted.champion:  # refused before the fits, not after them
        version_rows.get(engine, which.model_name, wanted.champion)
    files = ArtifactCache(settings, engine).fetch(which.model_name, which.version)
    candidate = registered_candidate(files, version.run_id, which.read_from, settings)
    judgement = validate(candidate, wanted, settings, engine)
    data = candidate.dataset.data
    later = Validation(
        version.model_id,
        version.number,
        judgement.run_id,
        wanted.champion or None,
        data.digest(),
        data.span()[1],
        judgement.record,
        datetime.now(UTC),
    )
    judged = replace(version, validations=(*version.validations, later))
    validations.keep(engine, later, judged.refusals("serve", wanted.champion or None))
    return judgement


def _check_one_thing(which: ValidateParameters) -> None:
    is_version = bool(which.model_name and which.version)
    if bool(which.train_run) == is_version or (which.train_run and which.read_from):
        expected = "the id of a finished train run, or model_name and version of a registered one"
        raise ParameterError("train_run", which.train_run, expected)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    which, wanted = parse(argv, __doc__, *GROUPS)
    _check_one_thing(which)
    settings = platform_settings()
    with opened_engine(settings) as engine, TemporaryDirectory() as folder:
        if which.train_run:
            candidate = load_candidate(which.train_run, settings, Path(folder))
            judgement = validate(candidate, wanted, settings, engine)
        else:
            judgement = validate_version(which, wanted, settings, engine)
    for row in judgement.record:
        print(("passed  " if row.passed else "refused ") + row.line())
    print(f"run {judgement.run_id}", flush=True)


if __name__ == "__main__":
    exit_with(main)
