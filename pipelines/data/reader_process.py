"""Reader process: a question about a file that a stranger sent, answered by a process of its own.

A small file may unfold to any size, and a reader that breaks must not take the server with it. The
module that is asked reads one JSON value from standard input, limits its own memory, and prints one
line of JSON: its answer, or `problem`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry.contract import Json
from registry.errors import MLEngineError, OverloadedError

ROOT = Path(__file__).resolve().parents[2]


def ask(
    module: str,
    question: Mapping[str, Json],
    seconds: float,
    refused: Callable[[str], MLEngineError],
    broken: str,
) -> dict[str, Any]:
    """Return what a module answers.

    Args:
        refused: makes the error for a problem in words; it is raised.
        broken: the problem of a process that ended without an answer.

    Raises:
        OverloadedError: this machine has no room for the process now.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=seconds,
            cwd=ROOT,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise refused(f"it was not read within {seconds:g} s") from None
    except BlockingIOError as exc:  # no process more
        raise OverloadedError(1, 1) from exc
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise refused(broken) from None
    if "problem" in answer:
        raise refused(str(answer["problem"]))
    return answer


def environment() -> dict[str, str]:
    """Return the process's environment: no setting and no secret of the server."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2"}
