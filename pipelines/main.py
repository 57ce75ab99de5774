"""Stage `main`: train, validate, convert and register in one driver process.

The stages are nested runs of one run, so that the MLflow UI shows a model's making as a tree.
It ends at alias `staging` and a validation record; `promote=true` also asks the serve lock for
`production`. A retraining run never passes `promote`: `monitoring.retraining` decides.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from pipelines import progress
from pipelines.convert import convert
from pipelines.parameters import (
    OF_MAIN,
    FlavorParameters,
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
)
from pipelines.report import pictures
from pipelines.report.artifacts import artifact_tables
from pipelines.report.gathering import log_report
from pipelines.stage import (
    exit_with,
    log_metrics,
    platform_settings,
    say_what_run_is,
    stage_run,
)
from pipelines.templates import TEMPLATES
from pipelines.train import train
from pipelines.validate import validate
from registry import managed_models
from registry.database import opened_engine
from registry.flavors.conversion import conversion
from registry.gates import Lock
from registry.settings import PlatformSettings
from registry.version_card import describe
from registry.version_files import artifacts
from registry.version_rows import Version
from registry.versions import Registry

GROUPS = OF_MAIN

TRAINED, VALIDATED, CONVERTED = 0.65, 0.9, 0.97
"""Shares of the run after which each stage has ended, for its progress; the report is last."""


def make_version(
    source: SourceParameters,
    wanted: RecipeParameters,
    judgement: JudgementParameters,
    promotion: PromotionParameters,
    flavors: FlavorParameters,
    settings: PlatformSettings,
) -> tuple[Version, str]:
    """Make and register a version; return it, and the outcome in one line.

    Raises:
        MLEngineError: anything the caller can mend, in one line; nothing is registered then.
    """
    import mlflow

    groups = (source, wanted, judgement, promotion, flavors)
    with stage_run("main", wanted.model_id, *groups) as run_id, opened_engine(settings) as engine:
        started = perf_counter()
        registry = Registry(settings, engine)
        managed_models.check_not_archived(engine, wanted.model_id)
        registry.check_numbers(wanted.model_id)
        if judgement.champion:  # refused before the training, not after it
            registry.get(wanted.model_id, judgement.champion)
        with TemporaryDirectory() as folder, conversion(flavors.libraries()) as writing:
            with progress.part("", 0.0, TRAINED):
                candidate = train(source, wanted, settings, Path(folder))
            writing.start()  # the converters are imported beside the validation
            with progress.part("", TRAINED, VALIDATED):
                judged = validate(candidate, judgement, settings, engine)
            with progress.part("", VALIDATED, CONVERTED):
                version, outcome = convert(
                    candidate, judged.record, run_id, registry, promotion, flavors, writing
                )
            tables = artifact_tables(version.record, candidate.directory)
        log_metrics(dict(judged.evaluation.metrics) | {"main_seconds": perf_counter() - started})
        mlflow.set_tags({"version": str(version.number), "outcome": outcome})
        evidence = replace(
            judged.evidence,
            record=version.record,
            tables={**judged.evidence.tables, **tables},
            number=version.number,
            run_id=run_id,
        )
        pictures.log_gates(evidence)
        log_report(evidence)
        say_what_run_is(f"main v{version.number} {version.model_id}", _account(version, outcome))
        _say(version, judgement, outcome)
    return version, outcome


def _account(version: Version, outcome: str) -> str:
    """Describe the run as Markdown."""
    card = describe(version.contract, version.record, tuple(artifacts(version.digests)))
    verdict = outcome.partition(":")[0]
    return f"Made version {version.number}; at the end of this run: **{verdict}**\n\n{card}"


def _say(version: Version, wanted: JudgementParameters, outcome: str) -> None:
    for row in version.record:
        print(f"  {row.judged()}")
    locks: list[Lock] = ["serve"]
    if TEMPLATES.get(version.contract.template).is_action:
        locks.append("trade")
    for lock in locks:
        shut = version.refusals(lock, wanted.champion or None)
        print(f"  {lock} lock: {'shut' if shut else 'open'}")
    print(f"{version.model_id} version {version.number}: {outcome}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    source, wanted, judgement, promotion, flavors = parse(argv, __doc__, *GROUPS)
    make_version(source, wanted, judgement, promotion, flavors, platform_settings())


if __name__ == "__main__":
    exit_with(main)
