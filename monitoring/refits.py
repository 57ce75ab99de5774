"""Refits: a model whose answers age by the day is fitted anew when newer bars are there (`refit`).

The scenarios of a portfolio hold the volatility of their last day, so a refit does not wait for
drift. It is a cycle of `monitoring.retraining` that starts with its run queued. `main` makes the
challenger from the champion's recipe on the newest bars and compares it with the champion, with
trigger `schedule`. `advance` promotes it if every gate passes. There is at most one refit per model
and UTC day.

Bars come from the store of this engine if it holds the version's symbols for as long a span as the
version was made from. Otherwise they come from the version's own source, read to its newest bar.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import polars as pl

from monitoring import cycles
from monitoring.cycles import State
from monitoring.retraining import Resources, run_parameters
from monitoring.settings import MonitoringSettings
from pipelines.data.sources.store import BarStore
from pipelines.jobs import queue
from pipelines.parameters import (
    SAID_OF_BARS,
    RecipeParameters,
    SourceParameters,
    described,
    parse,
)
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.manifest import Manifest
from pipelines.stage import exit_with, platform_settings, stage_run
from registry.artifacts import ArtifactCache
from registry.contract import Json, ModelContract
from registry.errors import ParameterError
from registry.settings import PlatformSettings, read_settings
from registry.version_files import MANIFEST_FILE, VersionFiles

TRIGGER = "schedule"


@dataclass(frozen=True, slots=True)
class RefitParameters:
    """Which model to fit anew; from the command line."""

    model_name: str = described("", "a model of risk in production")


GROUPS = (RefitParameters,)


@dataclass(frozen=True, slots=True)
class _Newest:
    """Where newer bars are, and how far they reach."""

    source: SourceParameters
    end: datetime


def refit(
    resources: Resources, platform: PlatformSettings, model_id: str, now: datetime | None = None
) -> str:
    """Enqueue the refit of today; return one line with what was done, or the reason for nothing.

    Idempotent per UTC day.

    Raises:
        ParameterError: the model is not fitted anew every day.
        RegistryUnavailableError: MLflow does not answer.
        MLEngineError: the version's own source cannot be read.
    """
    now = now or datetime.now(UTC)
    day = f"{now:%F}"
    number = resources.registry.alias_state(model_id).number
    if number is None:
        return "no production version"
    if not resources.settings.retrain_enabled:
        return "RETRAIN_ENABLED is false"
    past = cycles.history(resources.engine, model_id)
    if past and past[0].closed_at is None:
        return f"waits: a cycle is in state {past[0].state}"
    if any(cycle.refit_day == day for cycle in past):
        return f"refitted on {day} already"
    files = ArtifactCache(platform, resources.engine).fetch(model_id, number)
    if not kind_of(files.contract.template).is_refitted_daily:
        expected = "a model whose answers age by the day; drift retrains the others"
        raise ParameterError("model_name", model_id, expected)
    newest = _newest(files, platform)
    if newest is None:
        return f"no bar after {files.contract.data.end}"
    return _enqueue(resources, files, newest, now)


def _newest(files: VersionFiles, platform: PlatformSettings) -> _Newest | None:
    """Find bars newer than the version's; None when there are none."""
    contract = files.contract
    made_from = SourceParameters(**Manifest.from_json(files.read(MANIFEST_FILE).decode()).source)
    found = _stored(contract, made_from, BarStore(platform.bars_dir))
    if found is None and made_from.source != "store":
        own = replace(made_from, end="")
        wanted = RecipeParameters(template=contract.template, seed=contract.seed)
        data = kind_of(contract.template).read(own, wanted, platform)
        found = _Newest(own, data.span()[1])
    if found is None or found.end <= datetime.fromisoformat(contract.data.end):
        return None
    return found


def _stored(
    contract: ModelContract, made_from: SourceParameters, store: BarStore
) -> _Newest | None:
    """Return the store's bars; None when it holds less than the version was made from."""
    if not set(contract.symbols) <= set(store.symbols(contract.interval)):
        return None
    if store.price_basis(contract.interval) != contract.price_basis:
        return None
    bars = store.read(contract.interval, list(contract.symbols))
    held = bars.frame.group_by("symbol").agg(pl.len(), pl.col("timestamp").max().alias("end"))
    n_needed = contract.data.n_bars // len(contract.symbols)
    if made_from.source != "store" and int(held["len"].to_numpy().min()) < n_needed:
        return None
    end = min(held["end"].to_list())
    source = SourceParameters(
        source="store",
        symbols=",".join(contract.symbols),
        start=made_from.start,
        end=end.isoformat(),
        interval=contract.interval,
        policy=made_from.policy,
        **{name: getattr(made_from, name) for name in SAID_OF_BARS},
    )
    return _Newest(source, end)


def _enqueue(resources: Resources, files: VersionFiles, newest: _Newest, now: datetime) -> str:
    """Open the day's cycle with its run queued, in one transaction."""
    day, model_id = f"{now:%F}", files.model_id
    champion = resources.registry.get(model_id, int(files.number))
    payload: dict[str, Json] = run_parameters(champion, newest.end, TRIGGER) | asdict(newest.source)
    key = hashlib.sha256(json.dumps(["refit", model_id, day]).encode()).hexdigest()
    reason = f"refit of {day} on bars until {newest.end:%F %H:%M}"
    with resources.engine.begin() as connection:
        cycle = cycles.open_in(connection, model_id, champion.number, TRIGGER, now, reason)
        if cycle is None:
            return "waits: another cycle was just opened"
        job = queue.enqueue_in(connection, "main", payload, model_id=model_id, idempotency_key=key)
        proof = {"refit": day, "run_at": now.isoformat()}
        changes = {"job_id": job.id, "evidence": proof}
        cycles.move(connection, cycle, State.RETRAIN_QUEUED, f"{reason}; job {job.id}", **changes)
    return f"{reason}; job {job.id}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    (wanted,) = parse(argv, __doc__, *GROUPS)
    if not wanted.model_name:
        raise ParameterError("model_name", "", "the name of a model of risk in production")
    platform, settings = platform_settings(), read_settings(MonitoringSettings)
    with (
        Resources.of(platform, settings) as resources,
        stage_run("refit", wanted.model_name, wanted),
    ):
        print(f"{wanted.model_name}: {refit(resources, platform, wanted.model_name)}", flush=True)


if __name__ == "__main__":
    exit_with(main)
