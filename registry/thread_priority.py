"""The priority of a thread that others should not wait for."""

import os
import sys
import threading
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
