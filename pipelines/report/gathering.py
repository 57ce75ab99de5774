"""What a page is made from, gathered from a candidate and its judgement."""

import polars as pl

from pipelines.candidate import Candidate
from pipelines.folds import fold_map
from pipelines.reference import DriftProfile
from pipelines.report import REPORT_FILE, Evidence
from pipelines.templates import Evaluation
from registry import trials
from registry.artifacts import DRIFT_FILE
from registry.database import open_engine
from registry.gates import Record
from registry.settings import PlatformSettings


def gather(
    candidate: Candidate, evaluation: Evaluation, record: Record, settings: PlatformSettings
) -> Evidence:
    """Return the evidence of a candidate that was just evaluated; its trial is counted already."""
    tables = dict(evaluation.tables)
    tables["fold_map"] = fold_map(list(candidate.dataset.folds), candidate.dataset.rows)
    tables |= _importance(candidate)
    if evaluation.returns is not None:
        tables["trials"] = _trials(candidate, settings)
    return Evidence(
        contract=candidate.contract,
        record=tuple(record),
        metrics=evaluation.metrics,
        tables=tables,
        run_id=candidate.run_id,
        returns=evaluation.returns,
    )


def log_report(evidence: Evidence) -> None:
    """Log the page to the active MLflow run as `report.html`."""
    import mlflow

    from pipelines.report.page import render

    mlflow.log_text(render(evidence), REPORT_FILE)


def _importance(candidate: Candidate) -> dict[str, pl.DataFrame]:
    """Return feature and importance of the final fit, as the drift profile keeps them."""
    path = candidate.directory / DRIFT_FILE
    if not path.is_file():
        return {}
    known = DriftProfile.from_json(path.read_text()).importance
    columns = {"feature": list(known), "importance": list(known.values())}
    schema = {"feature": pl.String(), "importance": pl.Float64()}
    return {"importance": pl.DataFrame(columns, schema=schema)}


def _trials(candidate: Candidate, settings: PlatformSettings) -> pl.DataFrame:
    """Return the Sharpe ratio per period of every trial of the family that left one."""
    dataset = candidate.dataset
    engine = open_engine(settings)
    family = candidate.recipe.family(dataset.label_spec, candidate.contract.symbols)
    _, sharpes = trials.known(engine, family)
    engine.dispose()
    return pl.DataFrame({"sharpe": list(sharpes)}, schema={"sharpe": pl.Float64()})
