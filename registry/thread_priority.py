"""The priority of threads that others should not wait for.

A lower priority is a smaller share over time. It does not say who goes first: a thread that has
slept may use what it has saved up, some milliseconds, while one with a higher priority waits for
the processor or for the interpreter. So work in many steps gives way between them (`give_way`).
"""

import io
import os
import sys
import threading
import time
from contextlib import suppress

NICENESS = 10


def lower() -> None:
    """Lower the calling thread's priority for good: it computes when no other thread wants to.

    For threads that write or watch beside one that answers. Only Linux has a priority per thread;
    elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def give_way() -> None:
    """Let another thread go on that waits for the interpreter or for this processor.

    Costs a microsecond where none does.
    """
    if hasattr(os, "sched_yield"):  # not everywhere
        os.sched_yield()
    else:
        time.sleep(0)


def lower_polars() -> None:
    """Start the threads of polars with this lower priority; call it before polars computes.

    They live as long as the process, and each has the priority of the thread that first asked.
    """
    starter = threading.Thread(target=_start_polars, name="polars-starter")
    starter.start()
    starter.join()


def _start_polars() -> None:
    import polars as pl

    lower()
    frame = pl.DataFrame({"number": [1.0, 2.0]})
    frame.sort("number")
    frame.write_parquet(io.BytesIO())
