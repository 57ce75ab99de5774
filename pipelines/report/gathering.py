"""What a page is made from, gathered from a candidate and its judgement."""

from dataclasses import replace

import polars as pl

from pipelines.data.bars import TIMESTAMP
from pipelines.method.folds import fold_map
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.reference import DriftProfile
from pipelines.report import REPORT_FILE, Evidence
from pipelines.templates import Evaluation
from registry.gates import Record
from registry.version_files import DRIFT_FILE


def gather(
    candidate: Candidate, evaluation: Evaluation, record: Record, evidence_run: str = ""
) -> Evidence:
    """Return the evidence of a candidate that was just evaluated.

    Args:
        evidence_run: the run that holds the evaluation's files.
    """
    fitted = of_fit(candidate)
    tables = dict(evaluation.tables) | dict(fitted.tables)
    if {"regime_probabilities", "alarms_over_time"} & set(tables):
        tables |= _market(candidate)
    return replace(
        fitted,
        record=tuple(record),
        metrics=evaluation.metrics,
        tables=tables,
        returns=evaluation.returns,
        files={name: len(table) for name, table in evaluation.files.items()},
        evidence_run=evidence_run,
    )


def of_fit(candidate: Candidate) -> Evidence:
    """Return the evidence of a candidate before it is judged."""
    folds = fold_map(list(candidate.dataset.folds), candidate.dataset.rows)
    tables = {"fold_map": folds} | _importance(candidate)
    return Evidence(candidate.contract, (), {}, tables, candidate.run_id)


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


def _market(candidate: Candidate) -> dict[str, pl.DataFrame]:
    """Return the equal-weight log index of the symbols over the out-of-fold span, 0 at its start.

    Empty for data without closes.
    """
    frame, t0 = candidate.dataset.data.frame, candidate.oof.rows.t0
    if "close" not in frame.columns or not len(t0):
        return {}
    first = pl.lit(int(t0.min())).cast(TIMESTAMP)
    change = pl.col("close").log().diff().over("symbol").alias("change")
    steps = (
        frame.sort("symbol", "timestamp")
        .select("timestamp", change)
        .filter(pl.col("timestamp") >= first)
        .group_by("timestamp")
        .agg(pl.col("change").mean())
        .sort("timestamp")
    )
    index = pl.col("change").fill_null(0.0).cum_sum().alias("log_index")
    return {"market": steps.select("timestamp", index)}
