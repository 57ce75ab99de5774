"""The day's refit of a model of risk: from the schedule to a promoted version, once a day."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring import cycles, guards
from monitoring.cycles import State
from monitoring.refits import refit
from monitoring.retraining import Resources, advance
from monitoring.schedule import enqueue_refits
from monitoring.settings import MonitoringSettings
from pipelines.data.sources.store import BarStore
from pipelines.jobs import leases, queue
from pipelines.main import GROUPS, make_version
from pipelines.parameters import (
    FlavorParameters,
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
)
from pipelines.recipes.reference import DriftProfile
from registry.artifacts import ArtifactCache
from registry.errors import ParameterError
from registry.version_files import DRIFT_FILE
from registry.versions import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODEL, SYMBOLS, N_DAYS = "portfolio_risk", ("AAA", "BBB", "CCC"), 1000
START, DAY = datetime(2018, 1, 1, tzinfo=UTC), timedelta(days=1)


def bars(n_days: int) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    steps = 0.01 * (0.7 * rng.standard_normal((N_DAYS + 50, 1)) + rng.standard_normal(3))
    steps = steps + 0.005 * rng.standard_normal((N_DAYS + 50, 3))
    close = (100 * np.exp(np.cumsum(steps - steps.mean(axis=0), axis=0)))[:n_days]
    times = [START + i * DAY for i in range(n_days)]
    parts = [
        pl.DataFrame({"symbol": symbol, "timestamp": times, "close": close[:, i]})
        for i, symbol in enumerate(SYMBOLS)
    ]
    return pl.concat(parts)


@pytest.fixture
def store(platform) -> BarStore:
    held = BarStore(platform.bars_dir)
    held.append(bars(N_DAYS), "1d", "adjusted")
    return held


@pytest.fixture
def resources(platform, engine) -> Resources:
    registry = Registry(platform, engine)
    return Resources(engine, registry, MonitoringSettings(), platform.mlflow_tracking_uri)


@pytest.fixture
def champion(platform, engine, store, tracking_uri, monkeypatch):
    """A version of risk in production, made from the bars held."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    version, outcome = make_version(
        SourceParameters(source="store"),
        RecipeParameters(
            template=MODEL,
            architecture="historical",
            parameters=json.dumps({"window": 250, "paths": 200}),
            options=json.dumps({"level": 0.95}),
        ),
        JudgementParameters(),
        PromotionParameters(promote=True),
        FlavorParameters(flavors="onnx"),
        platform,
    )
    assert outcome == "production", outcome
    return version


def run(job: queue.Job, platform, engine) -> None:
    """Do what a worker does with a job of `main`."""
    claimed = leases.claim(engine, "w")
    assert claimed is not None
    assert claimed.id == job.id
    argv = [f"--{name}={value}" for name, value in job.payload.items()]
    version, _ = make_version(*parse(argv, "", *GROUPS), platform)
    leases.finish(engine, claimed, {"run_id": version.run_id, "status": "FINISHED"})


def test_newer_bars_lead_to_one_promoted_refit_a_day(
    resources, platform, store, champion, engine
) -> None:
    now = START + N_DAYS * DAY
    assert "no bar after" in refit(resources, platform, MODEL, now)
    store.append(bars(N_DAYS + 2), "1d", "adjusted")
    assert "until 2020-09-28" in refit(resources, platform, MODEL, now)
    assert "waits" in refit(resources, platform, MODEL, now)
    (job,) = queue.list_jobs(engine, entry_point="main")
    assert job.payload["trigger"] == "schedule"
    run(job, platform, engine)
    assert advance(resources, MODEL) is State.OBSERVE
    found = resources.registry.resolve_alias(MODEL)
    assert found.number == champion.number + 1
    challenger = resources.registry.get(MODEL, found.number)
    row = next(row for row in challenger.record if row.gate == "champion.non_inferior")
    assert row.passed
    assert "walked" in row.note
    assert challenger.contract.data.end > champion.contract.data.end
    assert "already" in refit(resources, platform, MODEL, now)
    assert "no bar after" in refit(resources, platform, MODEL, now + DAY)
    past = cycles.history(engine, MODEL)
    assert [cycle.outcome for cycle in past] == ["promoted"]
    assert guards.champion_changes(past, datetime.now(UTC), resources.settings) == 0


def test_a_failed_refit_is_rejected_and_tried_again_the_next_day(
    resources, platform, store, champion, engine
) -> None:
    now = START + N_DAYS * DAY
    store.append(bars(N_DAYS + 2), "1d", "adjusted")
    refit(resources, platform, MODEL, now)
    claimed = leases.claim(engine, "w")
    for _ in range(claimed.max_attempts - 1):
        leases.fail(engine, claimed, "the bars are gone")
        claimed = leases.claim(engine, "w", now=datetime.now(UTC) + DAY)
    leases.fail(engine, claimed, "the bars are gone")
    assert advance(resources, MODEL) is State.OBSERVE
    assert resources.registry.resolve_alias(MODEL).number == champion.number
    assert "job" in refit(resources, platform, MODEL, now + DAY)


def test_the_worker_enqueues_refits_of_models_of_portfolios_only(champion, engine, world) -> None:
    enqueue_refits(engine)
    enqueue_refits(engine)
    assert [job.model_id for job in queue.list_jobs(engine, entry_point="refit")] == [MODEL]


def test_a_portfolio_s_weights_have_no_reference_to_drift_from(champion, platform, engine) -> None:
    files = ArtifactCache(platform, engine).fetch(MODEL, champion.number)
    assert not DriftProfile.from_json(files.read(DRIFT_FILE)).is_usable


def test_the_kill_switch_holds_and_other_models_are_refused(platform, engine, world) -> None:
    registry = Registry(platform, engine)
    resources = Resources(engine, registry, MonitoringSettings(retrain_enabled=False), "")
    assert refit(resources, platform, world.model) == "no production version"
    world.insert_version(engine, 1)
    world.serve(engine, 1)
    assert refit(resources, platform, world.model) == "RETRAIN_ENABLED is false"
    enqueue_refits(engine)
    assert queue.list_jobs(engine, entry_point="refit") == []


def test_a_model_of_bars_is_refused(resources, platform, register, registry) -> None:
    version = register()
    registry.set_alias_staging(version.model_id, version.number)
    registry.promote(version.model_id, version.number, actor="t", reason="t")
    with pytest.raises(ParameterError, match="drift retrains the others"):
        refit(resources, platform, version.model_id)
