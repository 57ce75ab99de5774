"""Hardware: one sample of the machine and of the engine's own processes.

`Machine.read()` returns a `HardwareSample`. A value that this machine does not give is None, and
`unread` says why under its name; nothing is estimated. `monitoring/sampler.py` takes the samples
on an interval, `monitoring/nvidia.py` reads GPUs.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeVar

import psutil

from monitoring.nvidia import Gpu, Nvidia

Role = Literal["serving", "worker"]
PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")
"""Names under which Linux lists the processor's own thermometer."""
FIRST = "a rate needs two samples; this is the first"
NEEDS_ROOT = "only root can read it, where there is one"
NO_SENSOR = "no sensor of the processor that can be read without root"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Use of all cores together; 100 is every core busy since the sample before.

    `load_*` are the system's averages of waiting and running threads, not divided by cores.
    """

    percent: float | None
    per_core_percent: tuple[float, ...]
    n_cores: int
    load_1m: float | None
    load_5m: float | None
    load_15m: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine; in a container, of its host. `percent` is what is not available."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    percent: float
    swap_used_bytes: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds DATA_DIR."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    percent: float


@dataclass(frozen=True, slots=True)
class Network:
    """All network cards together, since the sample before."""

    received_bytes_per_second: float
    sent_bytes_per_second: float


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """One of the engine's processes. `cpu_percent` is of one core: two busy threads are 200."""

    pid: int
    role: Role
    is_child: bool
    cpu_percent: float | None
    memory_bytes: int
    n_threads: int


@dataclass(frozen=True, slots=True)
class HardwareSample:
    """One look at the machine. `at` is wall time; `unread` maps a field that is null to a reason.

    `temperature_celsius` and `power_watts` are the processor's; a GPU has its own.
    """

    at: datetime
    cpu: Cpu | None
    memory: Memory | None
    disk: Disk | None
    network: Network | None
    processes: tuple[ProcessUse, ...]
    gpus: tuple[Gpu, ...]
    temperature_celsius: float | None
    power_watts: float | None = None
    neural_engine_percent: float | None = None
    memory_bandwidth_bytes_per_second: float | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


def no_workers() -> Iterable[int]:
    """Return nothing: no worker is known."""
    return ()


class Machine:
    """Reads samples; remembers what rates need. For one thread.

    Args:
        data_dir: whose file system is the disk.
        worker_pids: of workers on this machine, as far as known; must not wait.
    """

    def __init__(
        self,
        data_dir: Path,
        worker_pids: Callable[[], Iterable[int]] = no_workers,
        nvidia: Nvidia | None = None,
    ) -> None:
        self._data_dir, self._worker_pids = data_dir, worker_pids
        self._nvidia = nvidia or Nvidia()
        self._known: dict[int, psutil.Process] = {}
        self._network: tuple[float, int, int] | None = None
        self._is_first = True

    def read(self) -> HardwareSample:
        """Return a sample; never raises for a value that cannot be read."""
        unread: dict[str, str] = {}
        read = partial(_read, unread)
        gpus, unread_gpus = self._nvidia.read()
        sample = HardwareSample(
            at=datetime.now(UTC),
            cpu=read("cpu", self._cpu),
            memory=read("memory", _memory),
            disk=read("disk", self._disk),
            network=read("network", self._network_use),
            processes=tuple(read("processes", self._processes) or ()),
            gpus=gpus,
            temperature_celsius=read("temperature_celsius", _temperature),
            unread=unread,
        )
        if sample.cpu is not None and sample.cpu.percent is None:
            unread["cpu.percent"] = FIRST
        if any(process.cpu_percent is None for process in sample.processes):
            unread["processes.cpu_percent"] = FIRST
        unread |= unread_gpus | {
            "power_watts": NEEDS_ROOT,
            "neural_engine_percent": NEEDS_ROOT,
            "memory_bandwidth_bytes_per_second": NEEDS_ROOT,
        }
        self._is_first = False
        return sample

    def close(self) -> None:
        """Give back what reading holds open."""
        self._nvidia.close()

    def _cpu(self) -> Cpu:
        cores = tuple(psutil.cpu_percent(percpu=True))  # since this thread's last call
        loads = psutil.getloadavg()
        return Cpu(
            percent=None if self._is_first else round(sum(cores) / len(cores), 1),
            per_core_percent=() if self._is_first else cores,
            n_cores=len(cores),
            **dict(zip(("load_1m", "load_5m", "load_15m"), loads, strict=True)),
        )

    def _disk(self) -> Disk:
        use = psutil.disk_usage(str(self._data_dir))
        return Disk(use.total, use.used, use.free, use.percent)

    def _network_use(self) -> Network:
        now, counted = monotonic(), psutil.net_io_counters()
        if counted is None:
            raise _UnreadError("no network card")
        before, self._network = self._network, (now, counted.bytes_recv, counted.bytes_sent)
        if before is None or now <= before[0]:
            raise _UnreadError(FIRST)
        seconds = now - before[0]
        received, sent = counted.bytes_recv - before[1], counted.bytes_sent - before[2]
        if received < 0 or sent < 0:
            raise _UnreadError("the counters of the network cards were reset")
        return Network(received / seconds, sent / seconds)

    def _processes(self) -> list[ProcessUse]:
        """Return the engine's processes on this machine; what has ended meanwhile is left out."""
        known, self._known = self._known, {}
        found = []
        for role, process, is_child in self._of_the_engine():
            same = known.get(process.pid)
            counted = same if same is not None and same == process else process
            try:
                with counted.oneshot():
                    percent = counted.cpu_percent()
                    memory = counted.memory_info().rss
                    n_threads = counted.num_threads()
            except psutil.Error:
                continue
            self._known[process.pid] = counted
            seen = percent if counted is same else None
            found.append(ProcessUse(process.pid, role, is_child, seen, memory, n_threads))
        return found

    def _of_the_engine(self) -> Iterable[tuple[Role, psutil.Process, bool]]:
        yield from _family("serving", os.getpid())
        for pid in self._worker_pids():
            yield from _family("worker", pid)


class _UnreadError(Exception):
    """A value that cannot be read now, with the reason."""


def _read(unread: dict[str, str], name: str, ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except _UnreadError as exc:
        unread[name] = str(exc)
    except (psutil.Error, OSError, NotImplementedError) as exc:
        unread[name] = type(exc).__name__  # its text would name files of this machine
    return None


def _family(role: Role, pid: int) -> Iterable[tuple[Role, psutil.Process, bool]]:
    try:
        process = psutil.Process(pid)
        children = process.children(recursive=True)
    except psutil.Error:
        return
    yield role, process, False
    for child in children:
        yield role, child, True


def _memory() -> Memory:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Memory(memory.total, memory.available, memory.used, memory.percent, swap.used)


def _temperature() -> float:
    read: Any = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        raise _UnreadError(NO_SENSOR)
    found = read()
    of_processor = [
        sensor.current
        for name in PROCESSOR_SENSORS
        for sensor in found.get(name, ())
        if sensor.current is not None
    ]
    if not of_processor:
        raise _UnreadError(NO_SENSOR)
    return float(max(of_processor))
