"""GET /system/status and /hardware/utilization: the process and its machine, in numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import Request
from pydantic import BaseModel, Field

from monitoring.backlog import Backlog
from monitoring.hardware import Disk, HardwareSample
from monitoring.sampler import HistoryPoint
from registry.contract import Json
from serving.dependencies import Answer
from serving.route_table import Example, Route, Scope
from serving.routes.health import Dependency, ask_dependencies
from serving.service import Service, service_of
from serving.system import versions
from serving.traffic import WINDOWS_MINUTES, Throughput

IS_OFF = "HARDWARE_MONITORING is false: nothing is sampled"
NO_SAMPLE_YET = "no sample yet; the first one is taken when the process starts"


class Worker(BaseModel):
    """A process that runs jobs, as the engine database knows it."""

    owner: str = Field(description="host:pid")
    n_slots: int = Field(description="How many jobs it runs at once.")
    started_at: datetime
    seen_at: datetime
    seen_seconds_ago: float = Field(description="By this machine's clock; never below 0.")


class Queues(BaseModel):
    """What waits."""

    jobs: Mapping[str, int] | None = Field(
        description="State -> how many; null while the database does not answer."
    )
    waiting_predictions: int = Field(description="Predictions that wait or run now.")
    prediction_log: int = Field(description="Answered rows that are not on disk yet.")


class SystemStatus(BaseModel):
    """State of this process. `workers` is null while the database does not answer."""

    at: datetime
    started_at: datetime
    uptime_seconds: float
    versions: Mapping[str, str | None] = Field(description="Null: not installed here.")
    settings: Mapping[str, Json] = Field(description="Variable -> value; no secrets.")
    dependencies: dict[str, Dependency]
    workers: list[Worker] | None = Field(description="Seen within a day, the newest first.")
    disk: Disk | None = Field(description="Null while hardware is not sampled.")
    queues: Queues
    traffic: dict[str, Throughput] = Field(description="By window: 1m, 5m, 15m.")


class HardwareUtilization(BaseModel):
    """Use of the machine: the newest sample, and a point each 5 s (or interval) for an hour."""

    is_sampled: bool = Field(description="HARDWARE_MONITORING.")
    interval_seconds: float = Field(description="MONITORING_INTERVAL.")
    problem: str | None = Field(description="Why there is no new sample.")
    age_seconds: float | None = Field(description="Age of `live`.")
    live: HardwareSample | None
    history: list[HistoryPoint] = Field(description="Oldest first.")


async def system_status(request: Request) -> SystemStatus:
    """Tell versions, uptime, settings, dependencies, workers, queues and recent traffic.

    What waits for the database is null when it does not answer within half a second.
    """
    service = service_of(request)
    system, traffic = service.system, service.metrics.traffic
    dependencies = await ask_dependencies(service)
    backlog, now = await system.backlog.answer(), datetime.now(UTC)
    sample = system.hardware.newest
    return SystemStatus(
        at=now,
        started_at=system.started_at,
        uptime_seconds=round(traffic.uptime_seconds, 3),
        versions=versions(),
        settings=system.settings,
        dependencies=dependencies,
        workers=_workers(backlog, now),
        disk=None if sample is None else sample.disk,
        queues=_queues(service, backlog),
        traffic={f"{minutes}m": traffic.of_last(minutes) for minutes in WINDOWS_MINUTES},
    )


async def hardware_utilization(request: Request) -> HardwareUtilization:
    """Tell the use of processor, memory, disk, network and GPUs, now and in the last hour.

    A value that this machine does not give is null; `live.unread` says why under its name.
    """
    hardware = service_of(request).system.hardware
    is_sampled, age = hardware.settings.hardware_monitoring, hardware.age_seconds
    return HardwareUtilization(
        is_sampled=is_sampled,
        interval_seconds=hardware.settings.monitoring_interval,
        problem=_problem(is_sampled, hardware.problem, age),
        age_seconds=None if age is None else round(age, 3),
        live=hardware.newest,
        history=hardware.history(),
    )


def _workers(backlog: Answer[Backlog], now: datetime) -> list[Worker] | None:
    if backlog.value is None:
        return None
    return [
        Worker(
            owner=worker.owner,
            n_slots=worker.n_slots,
            started_at=worker.started_at,
            seen_at=worker.seen_at,
            seen_seconds_ago=max(0.0, (now - worker.seen_at).total_seconds()),
        )
        for worker in backlog.value.workers
    ]


def _queues(service: Service, backlog: Answer[Backlog]) -> Queues:
    return Queues(
        jobs=None if backlog.value is None else backlog.value.jobs,
        waiting_predictions=service.engine.predicting.waiting,
        prediction_log=service.log.waiting,
    )


def _problem(is_sampled: bool, problem: str | None, age: float | None) -> str | None:
    if not is_sampled:
        return IS_OFF
    return problem or (NO_SAMPLE_YET if age is None else None)


ROUTES = (
    Route(
        "GET",
        "/system/status",
        Scope.READ,
        system_status,
        tag="watch",
        examples=(Example("the whole process"),),
    ),
    Route(
        "GET",
        "/hardware/utilization",
        Scope.READ,
        hardware_utilization,
        tag="watch",
        examples=(Example("now and the last hour"),),
    ),
)
