import json
import subprocess
import sys

import pytest

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
