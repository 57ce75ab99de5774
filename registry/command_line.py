"""The boundary of every command: one line on standard error and status 2, or the work is done.

Each `python -m X` ends with `run(main)`. A deliberate error is its own line. What a library or the
system raised becomes one line too, with the place in our code that it came out of: nobody who runs
a command can do anything with the inside of a library. Any other exception is a bug of ours and
keeps its traceback.
"""

import errno
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from registry.database import AWAY, cause_of
from registry.errors import MLEngineError

ROOT = Path(__file__).resolve().parent.parent
OURS = ("registry", "pipelines", "monitoring", "serving", "demo", "bench", "builtins")
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED, INTERRUPTED = 2, 130
"""Exit statuses: the command says in a line why it did not; somebody pressed Ctrl-C."""


def run(work: Callable[[], object], name: str = "error") -> None:
    """Do the work of a process; a whole number that it returns is the exit status.

    Args:
        name: what the line begins with.
    """
    try:
        status = work()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as exc:
        line = line_of(exc)
        if line is None:
            raise
        _end(name, line)
    if isinstance(status, int) and status:
        raise SystemExit(status)


def line_of(exc: BaseException) -> str | None:
    """Return what to tell of an exception in one line; None for a bug of ours."""
    if isinstance(exc, MLEngineError):
        return _one_line(str(exc))
    if isinstance(exc, AWAY):
        return f"the engine database does not answer ({cause_of(exc)})"
    if isinstance(exc, MemoryError):
        return "there is not enough memory; read fewer bars or rows"
    if isinstance(exc, OSError):
        return of_system(exc)
    if type(exc).__module__.partition(".")[0] in OURS:
        return None
    said = _one_line(str(exc)) or "no reason given"
    return f"{said} ({type(exc).__name__}{_place(exc)})"


def of_system(exc: OSError) -> str:
    """Return what the operating system refused, with the whole path."""
    where = f": {Path(exc.filename).absolute()}" if isinstance(exc.filename, str) else ""
    if exc.errno in FULL:
        return f"the disk is full{where}; make room and run it again"
    return f"{exc.strerror or _one_line(str(exc)) or type(exc).__name__}{where}"


def _place(exc: BaseException) -> str:
    """Return the last line of our code that an exception passed."""
    for frame in reversed(traceback.extract_tb(exc.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts:
            return f" at {path.relative_to(ROOT)}:{frame.lineno}"
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _end(name: str, line: str) -> NoReturn:
    print(f"{name}: {line}", file=sys.stderr)
    raise SystemExit(REFUSED) from None
