"""Gauges of /metrics that show what /system/status and /hardware/utilization show.

Read when Prometheus asks. A value that is null there has no sample here.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from prometheus_client.core import GaugeMetricFamily

from monitoring.backlog import Backlog
from monitoring.hardware import HardwareSample, Role
from monitoring.nvidia import Gpu
from monitoring.sampler import count_of, cpu_percent_of, memory_of
from serving.dependencies import Answer
from serving.follower import Follower
from serving.system import System
from serving.traffic import WINDOWS_MINUTES

Value = float | int | bool | None
ROLES: tuple[Role, ...] = ("serving", "worker")
MACHINE = (
    ("cpu_percent", "cpu.percent", "Use of all cores."),
    ("memory_total_bytes", "memory.total_bytes", "Memory."),
    ("memory_available_bytes", "memory.available_bytes", "Memory that is not in use."),
    ("memory_used_bytes", "memory.used_bytes", "Memory in use."),
    ("memory_percent", "memory.percent", "Memory that is not available."),
    ("swap_used_bytes", "memory.swap_used_bytes", "Swapped out."),
    ("disk_total_bytes", "disk.total_bytes", "DATA_DIR's file system."),
    ("disk_used_bytes", "disk.used_bytes", "Of it in use."),
    ("disk_free_bytes", "disk.free_bytes", "Of it free."),
    ("disk_percent", "disk.percent", "Of it in use, in percent."),
    (
        "network_received_bytes_per_second",
        "network.received_bytes_per_second",
        "Received by all network cards.",
    ),
    (
        "network_sent_bytes_per_second",
        "network.sent_bytes_per_second",
        "Sent by all network cards.",
    ),
    ("temperature_celsius", "temperature_celsius", "The processor's."),
    ("power_watts", "power_watts", "The processor's."),
    ("neural_engine_percent", "neural_engine_percent", "Use of the Neural Engine."),
    (
        "memory_bandwidth_bytes_per_second",
        "memory_bandwidth_bytes_per_second",
        "Read from and written to memory.",
    ),
)
"""Metric, where a sample has it, text."""
GPU = (
    ("utilization_percent", "Share of time in which a kernel ran."),
    ("memory_utilization_percent", "Share of time in which memory was read or written."),
    ("memory_used_bytes", "Memory in use."),
    ("memory_total_bytes", "Memory."),
    ("temperature_celsius", "Temperature."),
    ("power_watts", "Power."),
)


class SystemGauges:
    """A collector of prometheus_client over one application's system."""

    def __init__(self, system: System, follower: Follower) -> None:
        self._system, self._follower = system, follower

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every gauge, with the samples that there are."""
        system = self._system
        yield from _traffic(system)
        yield from _backlog(system.backlog.newest())
        yield _labelled("dependency_up", "1 while it answers.", "dependency", self._answering())
        yield _plain(
            "hardware_age_seconds", "Age of the hardware's values.", system.hardware.age_seconds
        )
        sample = system.hardware.newest
        yield from _machine(sample)
        yield from _processes(sample)
        yield from _gpus(() if sample is None else sample.gpus)

    def _answering(self) -> Iterator[tuple[str, Value]]:
        yield "mlflow", self._follower.registry_status.is_reachable
        for name, answer in (
            ("database", self._system.database.newest()),
            ("store", self._system.store.newest()),
            ("disk", self._system.disk.newest()),
        ):
            yield name, None if answer is None else answer.problem is None


def _traffic(system: System) -> Iterator[GaugeMetricFamily]:
    recent = {str(minutes): system.traffic.of_last(minutes) for minutes in WINDOWS_MINUTES}
    yield _plain("uptime_seconds", "Seconds since the start.", system.traffic.uptime_seconds)
    yield _labelled(
        "recent_requests_per_second",
        "Requests of the last minutes.",
        "minutes",
        ((minutes, found.requests_per_second) for minutes, found in recent.items()),
    )
    yield _labelled(
        "recent_predictions_per_second",
        "Rows answered in the last minutes.",
        "minutes",
        ((minutes, found.predictions_per_second) for minutes, found in recent.items()),
    )
    yield _labelled(
        "recent_error_rate",
        "Share of requests of the last minutes with a status of 500 or more.",
        "minutes",
        ((minutes, found.error_rate) for minutes, found in recent.items()),
    )


def _backlog(answer: Answer[Backlog] | None) -> Iterator[GaugeMetricFamily]:
    known = None if answer is None else answer.value
    states = () if known is None else known.jobs.items()
    yield _labelled("jobs", "Jobs by state.", "state", states)
    seen = None
    if known is not None and known.workers:
        seen = max(0.0, (datetime.now(UTC) - known.workers[0].seen_at).total_seconds())
    yield _plain("worker_seen_seconds_ago", "Since some worker was last seen.", seen)


def _machine(sample: HardwareSample | None) -> Iterator[GaugeMetricFamily]:
    cpu = None if sample is None else sample.cpu
    cores = () if cpu is None else enumerate(cpu.per_core_percent)
    yield _labelled("cpu_core_percent", "Use of a core.", "core", ((str(i), v) for i, v in cores))
    loads = () if cpu is None else (("1", cpu.load_1m), ("5", cpu.load_5m), ("15", cpu.load_15m))
    yield _labelled("load", "Load average.", "minutes", loads)
    for name, path, text in MACHINE:
        yield _plain(name, text, _value(sample, path))


def _value(sample: HardwareSample | None, path: str) -> Value:
    """Return what stands at a path like `cpu.percent`; None where something on it is None."""
    found: Any = sample
    for name in path.split("."):
        found = None if found is None else getattr(found, name)
    return cast("Value", found)


def _processes(sample: HardwareSample | None) -> Iterator[GaugeMetricFamily]:
    for name, text, of in (
        ("process_cpu_percent", "Use of one core by the processes of a role.", cpu_percent_of),
        ("process_memory_bytes", "Resident memory of the processes of a role.", memory_of),
        ("processes", "Processes of a role on this machine.", count_of),
    ):
        values = [] if sample is None else [(role, of(sample, role)) for role in ROLES]
        yield _labelled(name, text, "role", values)


def _gpus(gpus: Iterable[Gpu]) -> Iterator[GaugeMetricFamily]:
    found = tuple(gpus)
    for name, text in GPU:
        values = [(str(gpu.index), getattr(gpu, name)) for gpu in found]
        yield _labelled(f"gpu_{name}", text, "gpu", values)


def _plain(name: str, text: str, value: Value) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"ml_engine_{name}", text)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _labelled(
    name: str, text: str, label: str, values: Iterable[tuple[str, Value]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"ml_engine_{name}", text, labels=[label])
    for of, value in values:
        if value is not None:
            family.add_metric([of], float(value))
    return family
