"""`python -m serving` is `python -m serving.app`."""

from registry.command_line import run
from serving.app import main

if __name__ == "__main__":
    run(main, "serving")
