"""Sampler: looks at the hardware on an interval, and keeps the newest sample and the last hour.

One daemon thread. Its schedule is monotonic time, so a clock that jumps delays nothing; wall time
is only the label of a sample. A sample that costs processor time makes the pause after it longer,
so that the thread never takes more than `MOST_OF_A_CORE`, whatever the interval and the machine.
"""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, thread_time

import structlog

from monitoring.hardware import HardwareSample, Machine, Role
from monitoring.settings import HardwareSettings

MOST_OF_A_CORE = 0.005
HOUR_SECONDS = 3600.0
STEP_SECONDS = 5.0
"""Of the samples within one such step the first is kept in the history."""
SECOND_LOOK_SECONDS = 1.0
"""Rates need two samples: the second one follows the first after this, or the interval."""
SLOW_LOOK_SECONDS = 20.0
"""What one look with the pause that it costs may take on a busy machine."""

log = structlog.get_logger("monitoring.sampler")


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """What is kept of a sample for an hour; null where the sample has null.

    `serving_*` and `worker_*` are sums over the processes of that role on this machine.
    """

    at: datetime
    cpu_percent: float | None
    load_1m: float | None
    memory_percent: float | None
    disk_percent: float | None
    serving_cpu_percent: float | None
    serving_memory_bytes: int | None
    worker_cpu_percent: float | None
    worker_memory_bytes: int | None
    gpu_utilization_percent: tuple[float | None, ...]
    gpu_memory_used_bytes: tuple[int | None, ...]


class Sampler:
    """Samples `machine` from `start` to `close`; with HARDWARE_MONITORING off it never begins."""

    def __init__(self, machine: Machine, settings: HardwareSettings) -> None:
        self.settings = settings
        self._machine = machine
        self._lock = threading.Lock()  # guards the three below
        self._newest: tuple[float, HardwareSample] | None = None
        self._history: deque[tuple[float, HistoryPoint]] = deque()
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hardware", daemon=True)

    @property
    def newest(self) -> HardwareSample | None:
        """The newest sample; None before the first, and when sampling is off."""
        with self._lock:
            return None if self._newest is None else self._newest[1]

    @property
    def age_seconds(self) -> float | None:
        """How old the newest sample is, by a clock that does not jump."""
        with self._lock:
            return None if self._newest is None else monotonic() - self._newest[0]

    @property
    def problem(self) -> str | None:
        """Why there is no new sample; None when all is well, or sampling is off."""
        age = self.age_seconds
        if self._problem is None and age is not None and age > self._overdue_seconds:
            return f"no sample for {age:.0f} s: something that is read does not answer"
        return self._problem

    @property
    def _overdue_seconds(self) -> float:
        return 3 * max(self.settings.monitoring_interval, SLOW_LOOK_SECONDS)

    def history(self) -> list[HistoryPoint]:
        """Return the points of the last hour, oldest first."""
        since = monotonic() - HOUR_SECONDS
        with self._lock:
            return [point for taken, point in self._history if taken >= since]

    def start(self) -> None:
        """Begin; returns at once."""
        if self.settings.hardware_monitoring:
            self._thread.start()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Stop; a look that hangs is left behind after the time-out."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def take(self) -> float:
        """Take one sample and return the processor seconds that it cost."""
        began = thread_time()
        try:
            sample = self._machine.read()
        except Exception as exc:  # the thread must live on; the answer says that there is no news
            log.exception("hardware not sampled")
            self._problem = type(exc).__name__
        else:
            self._keep(monotonic(), sample)
        return thread_time() - began

    def _run(self) -> None:
        interval = self.settings.monitoring_interval
        pause, due = min(interval, SECOND_LOOK_SECONDS), monotonic()
        while not self._stop.is_set():
            cost = self.take()
            due = next_due(due, monotonic(), pause, cost)
            pause = interval
            self._stop.wait(max(0.0, due - monotonic()))
        self._machine.close()

    def _keep(self, taken: float, sample: HardwareSample) -> None:
        with self._lock:
            self._newest, self._problem = (taken, sample), None
            if self._history and _step(self._history[-1][0]) == _step(taken):
                return
            self._history.append((taken, point_of(sample)))
            while self._history[0][0] < taken - HOUR_SECONDS:
                self._history.popleft()


def next_due(due: float, now: float, pause: float, cost: float) -> float:
    """Return when the next sample is due, in monotonic seconds.

    Args:
        due: when the sample that has just been taken was due.
        cost: processor seconds that it took.
    """
    return max(due + pause, now + cost / MOST_OF_A_CORE - cost)


def point_of(sample: HardwareSample) -> HistoryPoint:
    """Return what the history keeps of a sample."""
    cpu, memory, disk = sample.cpu, sample.memory, sample.disk
    return HistoryPoint(
        at=sample.at,
        cpu_percent=None if cpu is None else cpu.percent,
        load_1m=None if cpu is None else cpu.load_1m,
        memory_percent=None if memory is None else memory.percent,
        disk_percent=None if disk is None else disk.percent,
        serving_cpu_percent=cpu_percent_of(sample, "serving"),
        serving_memory_bytes=memory_of(sample, "serving"),
        worker_cpu_percent=cpu_percent_of(sample, "worker"),
        worker_memory_bytes=memory_of(sample, "worker"),
        gpu_utilization_percent=tuple(gpu.utilization_percent for gpu in sample.gpus),
        gpu_memory_used_bytes=tuple(gpu.memory_used_bytes for gpu in sample.gpus),
    )


def cpu_percent_of(sample: HardwareSample, role: Role) -> float | None:
    """Return the processes' use of one core together; None when none of them has a value yet."""
    known = [p.cpu_percent for p in sample.processes if p.role == role]
    found = [percent for percent in known if percent is not None]
    return round(sum(found), 1) if found else None


def memory_of(sample: HardwareSample, role: Role) -> int | None:
    """Return the resident memory of the processes together; pages they share count in each."""
    found = [p.memory_bytes for p in sample.processes if p.role == role]
    return sum(found) if found else None


def count_of(sample: HardwareSample, role: Role) -> int:
    """Return how many processes of a role run on this machine."""
    return sum(process.role == role for process in sample.processes)


def _step(taken: float) -> int:
    return int(taken // STEP_SECONDS)
