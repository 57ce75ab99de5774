"""Retraining: the state machine from drift report to promoted or rejected (stage `advance`).

    OBSERVE -> SUSPECT -> CONFIRMED -> RETRAIN_QUEUED -> TRAINING -> VALIDATING
            -> PROMOTED | REJECTED -> COOLDOWN -> OBSERVE      (or HOLD until a person resumes)

`advance` moves a model as far as its evidence allows. It may be repeated or killed anywhere: each
move is one transaction that also appends the event, and the job carries an idempotency key. After a
kill between a promotion and its record, the alias shows that the promotion was made. `advance` runs
after each judged window (`monitoring/drift.py`) and, as an entry point, after each job `main` or
`drift`. When the registry does not answer, the cycle stays where it is and the next call goes on.

Drift starts a candidate run, never a promotion. A promotion needs an open serve lock and a passed
comparison with the champion (registry/gates.py).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from monitoring import cycles, guards, reports
from monitoring.cycles import Cycle, State
from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import TRIGGERS, Finding, Level, VersionReports
from pipelines import progress
from pipelines.jobs import queue
from pipelines.parameters import RecipeParameters, described, parse
from pipelines.recipes.inputs import kind_of
from pipelines.stage import exit_with, platform_settings, stage_run
from registry import events
from registry.contract import Json, ModelContract
from registry.database import opened_engine
from registry.errors import GateRefusedError, ParameterError, PromotionConflictError
from registry.settings import PlatformSettings, read_settings
from registry.tracking_server import check_reachable
from registry.version_files import REFERENCE_FILE
from registry.version_rows import Version
from registry.versions import Registry

MOST_MOVES = 12


@dataclass(frozen=True, slots=True)
class Resources:
    """The engine database, registry and settings that the state machine works with."""

    engine: sa.Engine
    registry: Registry
    settings: MonitoringSettings
    tracking_uri: str

    @classmethod
    @contextmanager
    def of(cls, platform: PlatformSettings, settings: MonitoringSettings) -> Iterator["Resources"]:
        """Open the engine database and the registry of an installation until the work ends."""
        with opened_engine(platform) as engine:
            yield cls(engine, Registry(platform, engine), settings, platform.mlflow_tracking_uri)


@dataclass(frozen=True, slots=True)
class AdvanceParameters:
    """Which models to move; from the command line."""

    model_name: str = described("", "model to move; empty means every model with work")
    resume: bool = described(False, "end a HOLD of model_name")
    actor: str = described("", "who resumes; goes into the event log")


GROUPS = (AdvanceParameters,)


def advance(resources: Resources, model_id: str, until: datetime | None = None) -> State:
    """Move a model as far as its evidence allows and return where it stands.

    Args:
        until: look only at windows that end at this time or before (a replay); None means all.

    Raises:
        RegistryUnavailableError: MLflow does not answer; nothing is lost, call again.
    """
    for _ in range(MOST_MOVES):
        cycle = cycles.find_open(resources.engine, model_id)
        if not _step(resources, model_id, cycle, until):
            break
    cycle = cycles.find_open(resources.engine, model_id)
    return State.OBSERVE if cycle is None else cycle.state


def resume(resources: Resources, model_id: str, actor: str) -> None:
    """End a HOLD: the model is observed again and its rejects are forgotten.

    Raises:
        ParameterError: the model is not on HOLD.
    """
    cycle = cycles.find_open(resources.engine, model_id)
    if cycle is None or cycle.state is not State.HOLD:
        raise ParameterError("resume", True, f"a model on HOLD, which {model_id!r} is not")
    with resources.engine.begin() as connection:
        reason = f"resumed by {actor}"
        if cycles.close(connection, cycle, reason, evidence={"resumed": True}):
            events.append(connection, "resumed", actor=actor, reason=reason, model_id=model_id)


def _step(resources: Resources, model_id: str, cycle: Cycle | None, until: datetime | None) -> bool:
    """Make one move; False when there is none to make."""
    if cycle is None:
        return _observe(resources, model_id, until)
    match cycle.state:
        case State.SUSPECT:
            return _suspect(resources, cycle, until)
        case State.CONFIRMED:
            return _confirmed(resources, cycle, until)
        case State.RETRAIN_QUEUED | State.TRAINING:
            return _await_job(resources, cycle)
        case State.VALIDATING:
            return _decide(resources, cycle)
        case State.PROMOTED | State.REJECTED:
            return _cool_down(resources, cycle, until)
        case State.COOLDOWN:
            return _end_cooldown(resources, cycle, until)
        case _:  # HOLD: a person must resume
            return False


# From report to confirmed ----------------------------------------------------------------------


def _observe(resources: Resources, model_id: str, until: datetime | None) -> bool:
    champion = resources.registry.alias_state(model_id).number
    version = None if champion is None else _version_reports(resources, model_id, champion, until)
    if version is None:
        return False
    past = cycles.history(resources.engine, model_id, limit=1)
    newest = version.reports[-1]
    if past and newest.window_end <= past[0].as_of:  # decided on before, or older
        return False
    trigger, finding = _strongest(version, resources.settings)
    if finding.level is Level.CALM:
        return False
    at = newest.window_end
    return cycles.open_cycle(
        resources.engine, model_id, version.number, trigger, at, finding.reason
    )


def _suspect(resources: Resources, cycle: Cycle, until: datetime | None) -> bool:
    version = _version_reports(resources, cycle.model_id, cycle.champion, until)
    if version is None or not _still_serves(resources, cycle):
        return _close(resources, cycle, "another version serves now", cycle.as_of)
    trigger, finding = _strongest(version, resources.settings)
    newest = version.reports[-1].window_end
    if finding.level is Level.CALM:
        return _close(resources, cycle, f"passed: {finding.reason}", newest)
    if finding.level is Level.SUSPECT:
        return False
    proof = {"windows": _windows(version.reports)}
    with resources.engine.begin() as connection:
        changes = {"trigger": trigger, "as_of": newest, "evidence": proof}
        return cycles.move(connection, cycle, State.CONFIRMED, finding.reason, **changes)


def _confirmed(resources: Resources, cycle: Cycle, until: datetime | None) -> bool:
    version = _version_reports(resources, cycle.model_id, cycle.champion, until)
    if version is None or not _still_serves(resources, cycle):
        return _close(resources, cycle, "another version serves now", cycle.as_of)
    newest = version.reports[-1]
    finding = TRIGGERS.get(cycle.trigger).judge(version, resources.settings)
    if finding.level is not Level.CONFIRMED:
        with resources.engine.begin() as connection:
            reason = f"no longer confirmed: {finding.reason}"
            return cycles.move(connection, cycle, State.SUSPECT, reason)
    past = cycles.history(resources.engine, cycle.model_id)
    why = guards.blocked(past, newest, version.now, resources.settings)
    if why:
        with resources.engine.begin() as connection:
            cycles.note(connection, cycle, why, newest.window_end)
        return False
    return _enqueue(resources, cycle, newest)


def _close(resources: Resources, cycle: Cycle, reason: str, as_of: datetime) -> bool:
    with resources.engine.begin() as connection:
        return cycles.close(connection, cycle, reason, as_of=as_of)


def _enqueue(resources: Resources, cycle: Cycle, newest: DriftReport) -> bool:
    version = resources.registry.get(cycle.model_id, cycle.champion)
    key = idempotency_key(version, newest, cycle.trigger)
    with resources.engine.begin() as connection:
        job = queue.enqueue_in(
            connection,
            "main",
            run_parameters(version, newest.window_end, cycle.trigger),
            model_id=cycle.model_id,
            idempotency_key=key,
        )
        proof = {"run_at": datetime.now(UTC).isoformat()}
        changes = {"job_id": job.id, "as_of": newest.window_end, "evidence": proof}
        reason = f"{cycle.reason}; job {job.id}"
        return cycles.move(connection, cycle, State.RETRAIN_QUEUED, reason, **changes)


def run_parameters(champion: Version, end: datetime, trigger: str) -> dict[str, Json]:
    """Return the parameters of `main` that repeat the champion's recipe on newer data.

    The kind of input says what is read (`InputKind.repeated`).
    """
    contract = champion.contract
    return {
        **asdict(RecipeParameters.of_contract(contract)),
        **kind_of(contract.template).repeated(contract, end),
        "champion": champion.number,
        "trigger": trigger,
    }


def idempotency_key(champion: Version, window: DriftReport, trigger: str) -> str:
    """Return the key under which one window of one version starts at most one run."""
    facts = [
        champion.model_id,
        champion.number,
        champion.digests.get(REFERENCE_FILE),
        window.window_start.isoformat(),
        window.window_end.isoformat(),
        trigger,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# From job to decision --------------------------------------------------------------------------


def _await_job(resources: Resources, cycle: Cycle) -> bool:
    assert cycle.job_id is not None
    job = queue.get(resources.engine, cycle.job_id)
    if job.state in ("failed", "cancelled"):
        return _rejected(
            resources, cycle, f"training {job.state}: {job.error or 'no reason recorded'}"
        )
    if cycle.state is State.RETRAIN_QUEUED and job.state != "queued":
        with resources.engine.begin() as connection:
            reason = f"job {job.id} attempt {job.fence}"
            return cycles.move(connection, cycle, State.TRAINING, reason)
    if job.state != "done":
        return False
    run_id = str((job.result or {}).get("run_id"))
    versions = resources.registry.list_versions(cycle.model_id)
    made = [version.number for version in versions if version.run_id == run_id]
    if not made:
        return _rejected(resources, cycle, f"run {run_id} registered no version")
    with resources.engine.begin() as connection:
        reason = f"version {made[-1]} of run {run_id}"
        return cycles.move(connection, cycle, State.VALIDATING, reason, challenger=made[-1])


def _decide(resources: Resources, cycle: Cycle) -> bool:
    assert cycle.challenger is not None
    check_reachable(resources.tracking_uri)  # two seconds; MLflow itself would retry for minutes
    challenger = resources.registry.get(cycle.model_id, cycle.challenger)
    serving = resources.registry.resolve_alias(cycle.model_id)
    if serving.number == challenger.number:  # promoted before, and killed before writing it down
        return _promoted(resources, cycle, "serves already")
    if serving.number != cycle.champion:
        now = f"version {serving.number}" if serving.number else "nothing"
        reason = f"{now} serves now; this was judged against version {cycle.champion}"
        return _rejected(resources, cycle, reason)
    shut = challenger.refusals("serve", cycle.champion)
    if shut:
        return _rejected(resources, cycle, "; ".join(shut))
    why = f"{cycle.trigger} at {cycle.as_of:%F}: every gate passed against version {cycle.champion}"
    try:
        resources.registry.promote(
            cycle.model_id,
            challenger.number,
            actor=cycles.ACTOR,
            reason=why,
            expected_generation=serving.generation,
            run_id=challenger.run_id,
        )
    except GateRefusedError as exc:
        return _rejected(resources, cycle, "; ".join(exc.refusals))
    except PromotionConflictError:
        return False  # another promotion is under way; what it left behind is judged next time
    return _promoted(resources, cycle, why)


def _promoted(resources: Resources, cycle: Cycle, reason: str) -> bool:
    with resources.engine.begin() as connection:
        proof = {"outcome": "promoted"}
        return cycles.move(connection, cycle, State.PROMOTED, reason, evidence=proof)


def _rejected(resources: Resources, cycle: Cycle, reason: str) -> bool:
    with resources.engine.begin() as connection:
        proof = {"outcome": "rejected"}
        return cycles.move(connection, cycle, State.REJECTED, reason, evidence=proof)


# After the decision ----------------------------------------------------------------------------


def _cool_down(resources: Resources, cycle: Cycle, until: datetime | None) -> bool:
    past = cycles.history(resources.engine, cycle.model_id)
    now = _now(resources, cycle.model_id, until)
    why = guards.held(past, now, resources.settings)
    with resources.engine.begin() as connection:
        if why:
            return cycles.move(connection, cycle, State.HOLD, why)
        if cycle.refit_day is not None:  # the next refit is tomorrow's: nothing to pause for
            return cycles.close(connection, cycle, f"{cycle.outcome}; refit of {cycle.refit_day}")
        end = guards.cooldown(now, guards.rejects_in_a_row(past), resources.settings)
        reason = f"{cycle.outcome}; pause until {end:%F %H:%M}"
        return cycles.move(connection, cycle, State.COOLDOWN, reason, cooldown_until=end)


def _end_cooldown(resources: Resources, cycle: Cycle, until: datetime | None) -> bool:
    assert cycle.cooldown_until is not None
    if _now(resources, cycle.model_id, until) < cycle.cooldown_until:
        return False
    with resources.engine.begin() as connection:
        return cycles.close(connection, cycle, "the pause is over")


# Evidence --------------------------------------------------------------------------------------


def _version_reports(
    resources: Resources, model_id: str, number: int, until: datetime | None
) -> VersionReports | None:
    """Read what triggers judge; None while no window of the version was judged."""
    count, names = resources.settings.drift_windows_of, tuple(TRIGGERS)
    found = reports.counting(resources.engine, model_id, number, names, count, until=until)
    if not found:
        return None
    version = resources.registry.get(model_id, number)
    now = guards.clock(resources.settings, found[-1])
    return VersionReports(model_id, number, data_end(version.contract), now, found)


def data_end(contract: ModelContract) -> datetime:
    """Return the end of the training data; rows without times are as old as their version."""
    known = contract.trained_until if contract.data.has_times else contract.created_at
    return datetime.fromisoformat(known)


def _strongest(version: VersionReports, settings: MonitoringSettings) -> tuple[str, Finding]:
    """Return the trigger with the highest level, the first by name of equal ones; its finding."""
    found = {name: TRIGGERS.get(name).judge(version, settings) for name in TRIGGERS}
    name = max(found, key=lambda name: found[name].level)
    return name, found[name]


def _still_serves(resources: Resources, cycle: Cycle) -> bool:
    return resources.registry.alias_state(cycle.model_id).number == cycle.champion


def _now(resources: Resources, model_id: str, until: datetime | None) -> datetime:
    found = reports.newest(resources.engine, model_id, limit=1, until=until)
    return guards.clock(resources.settings, found[-1] if found else None)


def _windows(found: Sequence[DriftReport]) -> list[Json]:
    return [
        {"end": r.window_end.isoformat(), "verdict": r.verdict, "share": r.drifted_share}
        for r in found
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    (wanted,) = parse(argv, __doc__, *GROUPS)
    platform, settings = platform_settings(), read_settings(MonitoringSettings)
    with (
        Resources.of(platform, settings) as resources,
        stage_run("advance", wanted.model_name or "operations", wanted),
    ):
        if wanted.resume:
            if not wanted.actor:
                raise ParameterError("actor", "", "the name of the person who resumes")
            resume(resources, wanted.model_name, wanted.actor)
        names = (
            [wanted.model_name] if wanted.model_name else cycles.models_with_work(resources.engine)
        )
        for model_id in progress.steps(names, "model"):
            print(f"{model_id}: {advance(resources, model_id)}", flush=True)
    print(f"{len(names)} models at {datetime.now(UTC):%F %H:%M:%S} UTC", flush=True)


if __name__ == "__main__":
    exit_with(main)
