import json
import subprocess
import sys
import threading

import pytest

from registry import thread_priority
from registry.thread_priority import NICENESS

SCRIPT = """
import io, json, os
from pathlib import Path
from registry import thread_priority
thread_priority.lower_polars()
import polars as pl
pl.DataFrame({"number": list(range(10_000))}).sort("number").write_parquet(io.BytesIO())
tasks = [Path("/proc/self/task") / name for name in os.listdir("/proc/self/task")]
print(json.dumps([
    [(task / "comm").read_text().strip(), os.getpriority(os.PRIO_PROCESS, int(task.name))]
    for task in tasks
]))
"""


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority per thread")
def test_threads_of_polars_go_behind_those_that_answer():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    threads = [tuple(each) for each in json.loads(done.stdout)]
    polars = [niceness for name, niceness in threads if name.startswith("polars-0")]
    own = [niceness for name, niceness in threads if name.startswith("python")]
    assert polars == [max(NICENESS, min(own))]
    assert min(own) < NICENESS or min(own) == polars[0]


def test_a_thread_that_gives_way_lets_another_go_on_before_its_turn_ends():
    gate, done, interval = threading.Lock(), [], sys.getswitchinterval()

    def follow():
        with gate:
            done.append(True)

    gate.acquire()
    other = threading.Thread(target=follow)
    other.start()
    sys.setswitchinterval(60)  # only who gives way lets the other have the interpreter
    try:
        gate.release()
        assert not done
        for _ in range(1_000):
            thread_priority.give_way()
            if done:
                break
    finally:
        sys.setswitchinterval(interval)
    assert done
    other.join()
