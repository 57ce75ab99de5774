"""What sampling the hardware costs: processor seconds of the sampler per second of wall time.

A process that does nothing else runs the sampler at the default MONITORING_INTERVAL. The first
sample, with its imports and its first looks, is counted apart.
"""

import argparse
import time
from pathlib import Path

from bench.figures import Figure, report
from monitoring.hardware import Machine
from monitoring.sampler import MOST_OF_A_CORE, Sampler
from monitoring.settings import HardwareSettings
from registry.command_line import run


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.hardware_monitoring", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two intervals instead of twelve")
    quick = parser.parse_args().quick
    settings = HardwareSettings()
    interval, n_intervals = settings.monitoring_interval, 2 if quick else 12
    sampler = Sampler(Machine(Path.cwd()), settings)
    began = time.process_time()
    sampler.start()
    _wait_for_rates(sampler)
    first = time.process_time() - began
    began_wall, began = time.monotonic(), time.process_time()
    time.sleep(interval * n_intervals)
    wall, cpu = time.monotonic() - began_wall, time.process_time() - began
    sampler.close()
    note = f"{wall:.0f} s at an interval of {interval:g} s"
    figures = [
        Figure("share_of_a_core_percent", 100 * cpu / wall, "%", note),
        Figure("sample_ms", cpu / n_intervals * 1e3, "ms", "processor time of one sample"),
        Figure("first_two_samples_ms", first * 1e3, "ms", "processor time, with what they import"),
        Figure("limit_percent", 100 * MOST_OF_A_CORE, "%", "held by the sampler's own schedule"),
    ]
    report("hardware_monitoring", figures, {"quick": quick, "interval_seconds": interval})


def _wait_for_rates(sampler: Sampler) -> None:
    while sampler.newest is None or sampler.newest.network is None:
        time.sleep(0.05)


if __name__ == "__main__":
    run(main)
