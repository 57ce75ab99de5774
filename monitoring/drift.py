"""Stage `drift`: judge whether inputs and loss of the version that serves have changed.

Each window of the prediction log goes through these steps. With too few rows it is `no_verdict`.
When the data-quality check fails it is `bad_data`, with an incident. Otherwise Evidently's
statistic of every feature is compared with the version's reference and weighted by importance, and
the realised loss is computed on the labels that are complete by the window's end. Each window
becomes one row of `drift_reports`; then the retraining state machine looks at it. A span is
replayed in one process, because importing Evidently takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import sqlalchemy as sa
from numpy.typing import NDArray

from monitoring import outcomes, quality, reports
from monitoring.corrected_rows import append_corrected
from monitoring.drift_run import DriftRun
from monitoring.outcomes import latest, new_labelled_times, per_time, realised
from monitoring.performance import RECENT_BARS, realised_performance, validated_excess
from monitoring.prediction_log import read_predictions
from monitoring.references import References
from monitoring.reported_outcomes import read_reported, realised_as_reported
from monitoring.reports import DriftReport, Verdict
from monitoring.retraining import Resources, advance
from monitoring.row_labels import new_label_times
from monitoring.settings import MonitoringSettings
from monitoring.triggers import JUDGED
from monitoring.triggers.data_drift import TRIGGER as DATA_DRIFT
from monitoring.triggers.performance import TRIGGER as PERFORMANCE
from monitoring.windows import is_apart, window_ends, window_start
from pipelines import progress
from pipelines.data.bars import Bars, to_microseconds
from pipelines.data.iso_times import parse_time
from pipelines.data.sources.store import BarStore
from pipelines.parameters import described, parse
from pipelines.recipes.inputs import kind_of
from pipelines.stage import exit_with, platform_settings, stage_run
from pipelines.templates import TEMPLATES, over_bars
from registry import events
from registry.artifacts import ArtifactCache
from registry.contract import Json
from registry.errors import ParameterError, VersionNotFoundError
from registry.settings import PlatformSettings, read_settings
from registry.version_files import VersionFiles


@dataclass(frozen=True, slots=True)
class DriftParameters:
    """What to judge; from the command line."""

    model_name: str = described("", "model whose production version to judge")
    start: str = described("", "first end of a window; empty means after the last one judged")
    end: str = described("", "last end of a window; empty means the newest")
    step: int = described(0, "bar times between two ends; 0 means DRIFT_STEP_BARS")


GROUPS = (DriftParameters,)


@dataclass(frozen=True, slots=True)
class MonitoredVersion:
    """A version, its logged predictions, and what is known of them at the time of judging."""

    version: VersionFiles
    logged: pl.DataFrame
    times: tuple[datetime, ...]
    realised: pl.DataFrame
    label_times: NDArray[np.int64]
    references: References


def judge_span(
    wanted: DriftParameters, platform: PlatformSettings, settings: MonitoringSettings
) -> list[DriftReport]:
    """Judge every window of the span that was not judged before, oldest first.

    Raises:
        ParameterError: no model, or a time that cannot be read.
        VersionNotFoundError: the model has no production version.
        RegistryUnavailableError: MLflow does not answer.
    """
    if not wanted.model_name:
        raise ParameterError("model_name", "", "the name of a registered model")
    with Resources.of(platform, settings) as resources:
        return _judge_span(wanted, platform, resources)


def _judge_span(
    wanted: DriftParameters, platform: PlatformSettings, resources: Resources
) -> list[DriftReport]:
    number = resources.registry.alias_state(wanted.model_name).number
    if number is None:
        raise VersionNotFoundError(wanted.model_name, "version under alias 'production'", ())
    version = ArtifactCache(platform, resources.engine).fetch(wanted.model_name, number)
    with stage_run("drift", wanted.model_name, wanted) as run_id, progress.part("drift"):
        watched = watch(version, platform, resources.engine, parse_time("end", wanted.end))
        ends = _ends(wanted, watched, resources)
        run = DriftRun(run_id, wanted.model_name, number)
        found = [
            report
            for end in progress.steps(ends, "window")
            if (report := _judge_and_save(watched, end, resources, run, is_last=end == ends[-1]))
        ]
        run.finish(watched.references.profile.share_limit, resources.settings)
    state = advance(resources, wanted.model_name)
    print(f"{len(found)} windows judged, {len(ends) - len(found)} known; {state}", flush=True)
    return found


def watch(
    version: VersionFiles, platform: PlatformSettings, engine: sa.Engine, end: datetime | None
) -> MonitoredVersion:
    """Gather what was logged for a version and what has become known since."""
    contract = version.contract
    template = TEMPLATES.get(contract.template)
    append_corrected(version, platform)
    logged = latest(_logged(version, platform, end))
    kind = kind_of(template)
    if not kind.has_times:
        return _watch_rows(version, platform, engine, logged)
    bars = _bars(version, BarStore(platform.bars_dir)) if kind.has_outcomes else None
    trained_until = datetime.fromisoformat(contract.trained_until)
    no_times = np.zeros(0, dtype=np.int64)
    return MonitoredVersion(
        version,
        logged,
        tuple(logged["as_of"].unique().sort().to_list()),
        pl.DataFrame(schema=outcomes.SCHEMA) if bars is None else realised(logged, version, bars),
        no_times
        if bars is None
        else new_labelled_times(over_bars(template), bars, contract.label_spec, trained_until),
        References(version),
    )


def _logged(
    version: VersionFiles, platform: PlatformSettings, end: datetime | None
) -> pl.DataFrame:
    """Read what windows and losses are computed from; the answers themselves are not."""
    columns = ("as_of", "symbol", "served_at", "version", "features", "scores", "n_scores")
    return read_predictions(
        platform.predictions_dir, version.model_id, None, end, version.number, columns
    )


def _watch_rows(
    version: VersionFiles, platform: PlatformSettings, engine: sa.Engine, logged: pl.DataFrame
) -> MonitoredVersion:
    """Gather the logged rows of a version without times, with the outcomes that users reported.

    New labels are counted in the files that the version was made from: a retraining run reads
    those, and no reported outcome.
    """
    reported = _reported(version, engine, logged)
    in_turn = logged.with_columns(pl.lit("").alias("symbol"))
    return MonitoredVersion(
        version,
        in_turn,
        tuple(in_turn["as_of"].unique().sort().to_list()),
        reported,
        new_label_times(version, platform),
        References(version),
    )


def judge_window(
    watched: MonitoredVersion, end: datetime, settings: MonitoringSettings
) -> DriftReport:
    """Return the report of the window that ends at `end`; nothing is stored."""
    profile = watched.references.profile
    template = TEMPLATES.get(watched.version.contract.template)
    start = window_start(watched.times, profile.window_bars, end)
    current = _features(watched, start, end)
    checks = _enough(current, watched, settings)
    if not quality.failures(checks):
        checks = (*checks, *quality.check_window(current, watched.references.panel))
    verdict, share, columns = _verdict(watched, current, checks)
    validated = validated_excess(watched.version.record, template.excess_gate)
    performance = realised_performance(
        per_time(watched.realised),
        end,
        validated,
        settings.performance_fall,
        watched.version.contract.horizon_bars,
    )
    n_new = int(np.searchsorted(watched.label_times, to_microseconds(end), side="right"))
    return DriftReport(
        model_id=watched.version.model_id,
        number=watched.version.number,
        window_start=start,
        window_end=end,
        n_rows=len(current),
        verdict=verdict,
        drifted_share=share,
        columns=columns,
        quality=quality.to_json(checks),
        performance=performance | {"new_labelled_bars": n_new},
        run_id=None,
        created_at=datetime.now(UTC),
    )


def _judge_and_save(
    watched: MonitoredVersion, end: datetime, resources: Resources, run: DriftRun, is_last: bool
) -> DriftReport | None:
    """Judge one window, store it with its incident, show it, let the state machine look.

    Returns:
        None when the window was judged before.
    """
    judged = judge_window(watched, end, resources.settings)
    report = run.signed(_with_counts(judged, watched, resources.engine))
    with resources.engine.begin() as connection:
        if not reports.save(connection, report):
            return None
        if report.verdict == "bad_data":
            events.append(
                connection,
                "incident",
                actor="drift",
                reason=f"bad data in the window to {end:%F}: {_failed(report)}",
                model_id=report.model_id,
                number=report.number,
                run_id=run.run_id,
            )
    run.log(report)
    if report.columns and run.wants_page(report, is_last):
        current = _features(watched, report.window_start, end)
        run.log_page(report, watched.references.page(current, _statistics(report)))
    state = advance(resources, report.model_id, until=end)
    share = "-" if report.drifted_share is None else f"{report.drifted_share:.2f}"
    print(f"{end:%F %H:%M}  {report.verdict:10}  share {share}  {state}", flush=True)
    return report


def _with_counts(report: DriftReport, watched: MonitoredVersion, engine: sa.Engine) -> DriftReport:
    """Return the report with the triggers whose k-of-n rule counts its window."""
    labelled = per_time(watched.realised)["known_at"].sort().to_list()
    length = watched.references.profile.window_bars
    spans: list[tuple[str, Sequence[datetime], int]] = []
    if report.verdict in JUDGED:
        spans.append((DATA_DRIFT.name, watched.times, length))
    if report.performance["fell"] is not None:
        spans.append((PERFORMANCE.name, labelled, RECENT_BARS))
    end, key = report.window_end, (report.model_id, report.number)
    named: list[Json] = []
    for name, times, n in spans:
        earlier = reports.last_counted(engine, *key, name, end)
        if earlier is None or is_apart(times, n, earlier, end):
            named.append(name)
    return replace(report, performance={**report.performance, "counts_for": named})


def _ends(
    wanted: DriftParameters, watched: MonitoredVersion, resources: Resources
) -> list[datetime]:
    version = watched.version
    known = reports.newest(resources.engine, version.model_id, version.number, limit=1)
    return window_ends(
        watched.times,
        watched.references.profile.window_bars,
        wanted.step or resources.settings.drift_step_bars,
        start=parse_time("start", wanted.start),
        end=parse_time("end", wanted.end),
        last_end=known[0].window_end if known else None,
    )


def _reported(version: VersionFiles, engine: sa.Engine, logged: pl.DataFrame) -> pl.DataFrame:
    first = logged["as_of"].min()
    if not isinstance(first, datetime) or not kind_of(version.contract.template).is_reported:
        return pl.DataFrame(schema=outcomes.SCHEMA)
    told = read_reported(engine, version.model_id, first)
    return realised_as_reported(logged, version, told)


def _bars(version: VersionFiles, store: BarStore) -> Bars | None:
    """Return the stored bars of the version's symbols; None without any."""
    contract = version.contract
    held = set(store.symbols(contract.interval)) & set(contract.symbols)
    return store.read(contract.interval, sorted(held)) if held else None


def _features(watched: MonitoredVersion, start: datetime, end: datetime) -> pl.DataFrame:
    """Return symbol, timestamp and one column per feature of a window's logged rows."""
    contract = watched.version.contract
    names = contract.feature_names[: kind_of(contract.template).n_logged(contract)]
    rows = watched.logged.filter(pl.col("as_of").is_between(start, end))
    rows = rows.filter(pl.col("features").list.len() == len(names))
    return rows.select(
        "symbol",
        pl.col("as_of").alias("timestamp"),
        *(pl.col("features").list.get(i).alias(name) for i, name in enumerate(names)),
    )


def _enough(
    current: pl.DataFrame, watched: MonitoredVersion, settings: MonitoringSettings
) -> tuple[quality.Check, ...]:
    """Check that there is enough to judge by: rows now, and blocks in the reference."""
    n_rows, needed = len(current), settings.drift_min_rows
    profile = watched.references.profile
    return (
        quality.Check("rows", n_rows >= needed, f"{n_rows} rows, {needed} needed"),
        quality.Check("reference", profile.is_usable, f"{profile.n_blocks} reference blocks"),
        quality.Check("columns", bool(profile.thresholds), f"{len(profile.thresholds)} watched"),
    )


def _verdict(
    watched: MonitoredVersion, current: pl.DataFrame, checks: Sequence[quality.Check]
) -> tuple[Verdict, float | None, dict[str, Json]]:
    failed = {check.name for check in checks if not check.passed}
    if failed & {"rows", "reference", "columns"}:
        return "no_verdict", None, {}
    if failed:
        return "bad_data", None, {}
    profile, statistics = watched.references.judge(current)
    share = profile.drifted_share(statistics)
    columns: dict[str, Json] = {
        name: {
            "statistic": value,
            "threshold": profile.thresholds[name],
            "importance": profile.importance[name],
        }
        for name, value in statistics.items()
    }
    return ("drift" if share >= profile.share_limit else "no_drift"), share, columns


def _statistics(report: DriftReport) -> dict[str, float]:
    return {n: float(c["statistic"]) for n, c in report.columns.items() if isinstance(c, dict)}


def _failed(report: DriftReport) -> str:
    return "; ".join(
        f"{name}: {check['detail']}"
        for name, check in report.quality.items()
        if isinstance(check, dict) and not check["passed"]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    (wanted,) = parse(argv, __doc__, *GROUPS)
    judge_span(wanted, platform_settings(), read_settings(MonitoringSettings))


if __name__ == "__main__":
    exit_with(main)
