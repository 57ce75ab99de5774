"""Runs a script, or a module after `-m`, whose clocks tell the processor seconds of its process.

On a shared machine thirty seconds of the wall are any share of them. With these clocks a budget of
seconds is the same work whatever else runs. What waits for a time without working would wait for
ever: nothing of a search does.
"""

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Set the clocks and run."""
    began, passed = time.time(), time.process_time
    time.time = lambda: began + passed()
    time.monotonic = time.perf_counter = passed
    sys.path[0] = str(Path.cwd())
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
