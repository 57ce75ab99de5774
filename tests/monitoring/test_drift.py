from datetime import timedelta

import numpy as np
import pytest

from monitoring import reports
from monitoring.drift import DriftParameters, judge_span, judge_window, watch
from monitoring.settings import MonitoringSettings
from pipelines.jobs import queue
from registry import events
from registry.errors import ParameterError, VersionNotFoundError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("evidently"),  # its import takes seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
MODEL = "watched"
DAY = timedelta(days=1)
SETTINGS = MonitoringSettings(drift_min_rows=20)
WITHOUT_BARS = MonitoringSettings(retrain_min_new_bars=0)


@pytest.fixture
def judge(settings, engine, version, world):
    """Judge the newest window of a replay of 30 days, its features changed by a function."""

    def make(change=lambda features: features, n_days: int = 30, wanted=SETTINGS):
        features = change(world.make_features(n_days, seed=5))
        world.log_predictions(settings.predictions_dir, features, world.start)
        watched = watch(version, settings, engine, None)
        return judge_window(watched, world.start + (n_days - 1) * DAY, wanted)

    return make


def test_unchanged_inputs_are_no_drift(judge, version):
    report = judge()
    assert (report.verdict, report.n_rows) == ("no_drift", 63) and report.drifted_share < 0.5
    assert set(report.columns) == {"f0", "f1", "f2", "f3"}
    assert report.window_end - report.window_start == 20 * DAY


def test_moved_inputs_are_drift_and_every_number_follows_from_the_columns(judge):
    def move(features: np.ndarray) -> np.ndarray:
        return features + np.array([2, 2, 2, 0], dtype=np.float32)

    report = judge(move)
    over = [c["importance"] for c in report.columns.values() if c["statistic"] >= c["threshold"]]
    assert report.drifted_share == pytest.approx(sum(over))
    assert report.verdict == "drift" and sum(over) >= 0.75


def test_too_few_rows_are_no_verdict(judge):
    report = judge(wanted=MonitoringSettings(drift_min_rows=64))
    assert (report.verdict, report.drifted_share) == ("no_verdict", None)
    assert report.quality["rows"] == {"passed": False, "detail": "63 rows, 64 needed"}


def test_a_broken_feed_is_bad_data_and_not_drift(judge):
    report = judge(lambda features: features * np.float32(1000))
    assert report.verdict == "bad_data" and report.quality["unit"]["passed"] is False


def test_a_window_of_one_symbol_is_held_against_that_symbol_alone(settings, engine, version, world):
    features = world.make_features(30, seed=5)
    world.log_predictions(settings.predictions_dir, features[:, :1], world.start)
    watched = watch(version, settings, engine, None)
    report = judge_window(watched, world.start + 29 * DAY, SETTINGS)
    assert report.n_rows == 21 and report.verdict == "no_drift"
    wider = [report.columns[n]["threshold"] for n in ("f0", "f1")]
    assert min(wider) > max(watched.references.profile.thresholds.values())


def test_performance_is_that_of_labels_complete_by_the_windows_end(
    settings, engine, version, world
):
    world.store_bars(settings.bars_dir, 480)
    world.log_predictions(settings.predictions_dir, world.make_features(60, 5), world.start)
    watched = watch(version, settings, engine, None)
    report = judge_window(watched, world.start + 49 * DAY, SETTINGS)
    assert report.performance["n_times"] == 45  # the last five labels are not complete
    assert report.performance["new_labelled_bars"] == 45
    assert report.performance["expected_excess"] == -0.05
    assert isinstance(report.performance["fell"], bool)


def test_a_model_without_a_production_version_is_a_clear_error(platform):
    with pytest.raises(VersionNotFoundError, match="production"):
        judge_span(DriftParameters(MODEL), platform, SETTINGS)
    with pytest.raises(ParameterError, match="model_name"):
        judge_span(DriftParameters(), platform, SETTINGS)


@pytest.fixture
def replay(platform, registry, register, world):
    """Version 1 serves; 30 calm days are logged, then 25 days of moved inputs."""
    registry.promote(MODEL, register().number, actor="test", reason="the first version")
    features = world.make_features(55, seed=6)
    features[30:] += np.float32(2)
    world.log_predictions(platform.predictions_dir, features, world.start)
    return DriftParameters(MODEL, start=world.start.isoformat())


def test_a_replayed_span_confirms_drift_once_and_repeating_it_changes_nothing(
    replay, platform, engine, world
):
    from mlflow import MlflowClient

    found = judge_span(replay, platform, WITHOUT_BARS)
    verdicts = [report.verdict for report in found]
    assert verdicts[:2] == ["no_drift"] * 2 and verdicts[-4:] == ["drift"] * 4
    assert [r.window_end for r in found] == [world.start + d * DAY for d in range(20, 55, 5)]
    (job,) = queue.list_jobs(engine)
    counted = [r.window_end for r in found if r.counts_for("data_drift")]
    assert counted == [world.start + d * DAY for d in (20, 35, 50)]  # 15 of 21 days apart
    assert job.entry_point == "main" and job.payload["end"] == counted[2].isoformat()

    client = MlflowClient()
    run = client.get_run(found[0].run_id)
    assert run.data.tags["version"] == "1"
    assert run.info.run_name == f"drift v1 {MODEL}"
    assert "`drifted_share`" in run.data.tags["mlflow.note.content"]
    history = client.get_metric_history(found[0].run_id, "drifted_share")
    assert [m.value for m in history] == pytest.approx([r.drifted_share for r in found])
    assert [m.timestamp for m in history] == [r.window_end.timestamp() * 1e3 for r in found]
    pages = [f.path for f in client.list_artifacts(found[0].run_id, "reports")]
    onset = next(r for r in found if r.verdict == "drift")
    assert pages == [f"reports/{r.window_end:%Y-%m-%dT%H%M}.html" for r in (onset, found[-1])]
    names = [f.path for f in client.list_artifacts(found[0].run_id)]
    assert "drift_over_time.png" in names

    assert judge_span(replay, platform, WITHOUT_BARS) == []
    assert len(queue.list_jobs(engine)) == 1
    assert len(reports.newest(engine, MODEL)) == len(found)


def test_a_feed_outage_is_an_incident_and_starts_no_run(
    platform, registry, register, world, engine
):
    registry.promote(MODEL, register().number, actor="test", reason="the first version")
    features = world.make_features(60, seed=6)
    features[25:] = 0
    world.log_predictions(platform.predictions_dir, features, world.start)
    wanted = DriftParameters(MODEL, start=(world.start + 40 * DAY).isoformat())
    found = judge_span(wanted, platform, MonitoringSettings(drift_step_bars=10))
    assert {report.verdict for report in found} == {"bad_data"}
    incidents = [e for e in events.read(engine, MODEL) if e.kind == "incident"]
    assert len(incidents) == len(found) and "frozen" in incidents[0].reason
    assert queue.list_jobs(engine) == []
