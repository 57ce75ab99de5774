"""Samples of the machine against what the operating system says, and a fake NVML."""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from monitoring import hardware, sampler
from monitoring.backlog import WorkerSeen, read_backlog
from monitoring.hardware import Machine
from monitoring.nvidia import NOT_INSTALLED, Nvidia
from monitoring.sampler import MOST_OF_A_CORE, Sampler, next_due
from monitoring.settings import HardwareSettings
from pipelines.jobs import queue
from registry.tables import workers


class NVMLError(Exception):
    pass


class FakeNvml:
    """The functions of pynvml that are used, over two GPUs; the second one gives no power."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError

    def __init__(self, names=("A", b"B"), init_error=None):
        self.names, self.init_error = names, init_error
        self.opened = 0

    def nvmlInit(self):  # noqa: N802
        if self.init_error:
            raise NVMLError(self.init_error)
        self.opened += 1

    def nvmlShutdown(self):  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        return SimpleNamespace(gpu=37 + handle, memory=5)

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=80 * 2**30, used=3 * 2**30, free=77 * 2**30)

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 41

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        if handle == 1:
            raise NVMLError("Not Supported")
        return 123_456


def no_nvml():
    raise ImportError("pynvml")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, nvidia=Nvidia(no_nvml))


def test_a_sample_is_what_the_system_says(machine, tmp_path):
    machine.read()
    sample = machine.read()
    assert sample.memory.total_bytes == psutil.virtual_memory().total
    assert sample.disk.total_bytes == psutil.disk_usage(str(tmp_path)).total
    assert sample.cpu.n_cores == len(sample.cpu.per_core_percent) == psutil.cpu_count()
    assert 0 <= sample.cpu.percent <= 100
    assert sample.network.received_bytes_per_second >= 0
    assert abs((datetime.now(UTC) - sample.at).total_seconds()) < 60


def test_a_first_sample_has_no_rates_and_says_so(machine):
    sample = machine.read()
    assert (sample.cpu.percent, sample.cpu.per_core_percent, sample.network) == (None, (), None)
    assert sample.processes[0].cpu_percent is None
    for name in ("cpu.percent", "network", "processes.cpu_percent"):
        assert sample.unread[name] == hardware.FIRST


def test_every_value_that_is_missing_has_a_reason(machine):
    sample = machine.read()
    missing = {f.name for f in fields(sample) if getattr(sample, f.name) is None}
    assert {"power_watts", "neural_engine_percent", "memory_bandwidth_bytes_per_second"} <= missing
    assert missing <= set(sample.unread)


def test_a_folder_that_is_away_costs_its_value_alone(tmp_path):
    sample = Machine(tmp_path / "away", nvidia=Nvidia(no_nvml)).read()
    assert sample.disk is None
    assert sample.unread["disk"] == "FileNotFoundError"  # without the path
    assert sample.memory is not None


def test_processes_are_this_one_its_children_and_the_worker(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as child:
        try:
            found = Machine(tmp_path, lambda: [child.pid], Nvidia(no_nvml)).read().processes
        finally:
            child.kill()
    ours = next(use for use in found if use.pid == os.getpid())
    assert (ours.role, ours.is_child) == ("serving", False)
    assert ours.memory_bytes > 10_000_000
    assert {(use.role, use.is_child) for use in found if use.pid == child.pid} == {
        ("serving", True),
        ("worker", False),
    }


def test_a_busy_process_shows(machine):
    machine.read()
    until = time.process_time() + 0.15
    while time.process_time() < until:
        pass
    ours = next(use for use in machine.read().processes if use.pid == os.getpid())
    assert ours.cpu_percent > 20


def test_a_worker_that_has_ended_is_left_out(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    found = Machine(tmp_path, lambda: [ended.pid], Nvidia(no_nvml)).read().processes
    assert ended.pid not in {use.pid for use in found}


def test_gpus_are_read_and_what_one_does_not_give_is_named():
    nvml = FakeNvml()
    nvidia = Nvidia(lambda: nvml)
    (first, second), unread = nvidia.read()
    assert (first.name, second.name) == ("A", "B")
    assert (first.utilization_percent, second.utilization_percent) == (37.0, 38.0)
    assert first.memory_used_bytes == 3 * 2**30
    assert first.memory_total_bytes == 80 * 2**30
    assert (first.temperature_celsius, first.power_watts) == (41.0, 123.456)
    assert second.power_watts is None
    assert unread == {"gpus[1].power_watts": "NVML: Not Supported"}
    nvidia.read()
    assert nvml.opened == 1
    nvidia.close()
    assert nvml.opened == 0


def test_the_real_module_has_what_the_fake_one_has():
    assert [
        name for name in dir(FakeNvml) if not name.startswith("_") and not hasattr(pynvml, name)
    ] == []
    assert issubclass(pynvml.NVMLError, Exception)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (no_nvml, NOT_INSTALLED),
        (lambda: FakeNvml(init_error="Driver Not Loaded"), "NVML: Driver Not Loaded"),
    ],
)
def test_a_machine_without_gpus_says_why(load, reason):
    nvidia = Nvidia(load)
    assert nvidia.read() == ((), {"gpus": reason})
    assert nvidia.read() == ((), {"gpus": reason})


def test_a_driver_that_goes_away_is_no_error():
    nvml = FakeNvml()
    nvidia = Nvidia(lambda: nvml)
    nvidia.read()

    def lost(*_):
        raise NVMLError("GPU is lost")

    nvml.nvmlDeviceGetHandleByIndex = lost
    (first, _), unread = nvidia.read()
    assert (first.index, first.name, first.utilization_percent) == (0, None, None)
    assert unread["gpus[0].handle"] == "NVML: GPU is lost"
    nvml.nvmlDeviceGetCount = lost
    assert nvidia.read() == ((), {"gpus": "NVML: GPU is lost"})


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(sampler, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_history_holds_an_hour_and_not_more_points_than_steps(clock, machine):
    kept = Sampler(machine, HardwareSettings(monitoring_interval=0.001))
    sample = machine.read()
    for _ in range(3 * 3600):
        clock.now += 0.5
        kept._keep(clock.now, sample)
    assert 719 <= len(kept.history()) <= 721
    assert len(kept._history) <= 722
    clock.now += 1800.0
    assert 359 <= len(kept.history()) <= 361
    assert kept.age_seconds == 1800.0


def test_the_wall_clock_only_labels(clock, machine, monkeypatch):
    kept = Sampler(machine, HardwareSettings())
    kept.take()
    clock.now += 10.0

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr(hardware, "datetime", Earlier)
    kept.take()
    assert [point.at.year for point in kept.history()] == [datetime.now(UTC).year, 2001]
    assert kept.age_seconds == 0.0


def test_a_sample_that_costs_delays_the_next_one():
    assert next_due(due=100.0, now=100.2, pause=10.0, cost=0.004) == 110.0
    late = next_due(due=100.0, now=100.2, pause=0.001, cost=0.004)
    assert late == pytest.approx(100.2 + 0.004 / MOST_OF_A_CORE - 0.004)
    assert 0.004 / (late - 100.2 + 0.004) == pytest.approx(MOST_OF_A_CORE)


def test_what_was_missed_is_not_made_up_for():
    assert next_due(due=100.0, now=4000.0, pause=10.0, cost=0.0) == 4000.0


def test_a_look_that_hangs_is_told(clock, machine):
    kept = Sampler(machine, HardwareSettings(monitoring_interval=5))
    kept.take()
    assert kept.problem is None
    clock.now += 61.0
    assert kept.problem == "no sample for 61 s: something that is read does not answer"


def test_the_thread_gives_nvml_back(tmp_path):
    nvml = FakeNvml()
    kept = Sampler(Machine(tmp_path, nvidia=Nvidia(lambda: nvml)), HardwareSettings())
    kept.start()
    until = time.monotonic() + 10
    while kept.newest is None and time.monotonic() < until:
        time.sleep(0.005)
    assert nvml.opened == 1
    kept.close()
    assert nvml.opened == 0


def test_the_thread_samples_and_ends(machine):
    kept = Sampler(machine, HardwareSettings(monitoring_interval=0.01))
    kept.start()
    until = time.monotonic() + 10
    while kept.newest is None and time.monotonic() < until:
        time.sleep(0.005)
    kept.close()
    assert kept.newest is not None
    assert "hardware" not in {thread.name for thread in threading.enumerate()}


def test_switched_off_it_never_looks(machine):
    kept = Sampler(machine, HardwareSettings(hardware_monitoring=False))
    kept.start()
    kept.close()
    assert (kept.newest, kept.age_seconds, kept.history()) == (None, None, [])


def test_a_bug_in_a_look_is_shown_and_the_next_look_clears_it(machine, monkeypatch):
    kept = Sampler(machine, HardwareSettings())
    with monkeypatch.context() as patch:
        patch.setattr(machine, "read", lambda: 1 / 0)
        kept.take()
    assert (kept.problem, kept.newest) == ("ZeroDivisionError", None)
    kept.take()
    assert kept.problem is None
    assert kept.newest is not None


def seen(owner, started_at=None, seen_at=None):
    now = datetime.now(UTC)
    return WorkerSeen(owner, 2, started_at or now, seen_at or now)


def test_a_worker_is_known_by_host_pid_and_start():
    here = socket.gethostname()
    assert seen(f"{here}:{os.getpid()}").local_pid() == os.getpid()
    assert seen(f"{here}:{os.getpid()}:ab12").local_pid() == os.getpid()
    assert seen(f"elsewhere:{os.getpid()}").local_pid() is None
    assert seen(f"{here}:x").local_pid() is None
    assert seen(here).local_pid() is None
    assert seen(f"{here}:{2**70}").local_pid() is None
    before_the_pid_was_taken = datetime.now(UTC) - timedelta(days=30)
    assert seen(f"{here}:{os.getpid()}", before_the_pid_was_taken).local_pid() is None


def test_backlog_counts_every_state_and_names_workers_of_a_day(engine):
    for _ in range(2):
        queue.enqueue(engine, "advance", {})
    queue.cancel(engine, queue.enqueue(engine, "drift", {}).id, actor="ada")
    now = datetime.now(UTC)
    rows = [
        {"owner": "a:1", "n_slots": 2, "started_at": now, "seen_at": now - timedelta(hours=1)},
        {"owner": "b:2", "n_slots": 1, "started_at": now, "seen_at": now},
        {"owner": "c:3", "n_slots": 1, "started_at": now, "seen_at": now - timedelta(days=2)},
    ]
    with engine.begin() as connection:
        connection.execute(workers.insert(), rows)
    found = read_backlog(engine)
    assert found.jobs == {"queued": 2, "leased": 0, "done": 0, "failed": 0, "cancelled": 1}
    assert [worker.owner for worker in found.workers] == ["b:2", "a:1"]
