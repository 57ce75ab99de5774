"""Run manifest: everything needed to say where a version came from and to fit it again.

Logged with every run and stored beside every version: stage parameters, data digest and span,
feature fingerprint, label and cost specs, seed, git commit, lock digest, library versions,
thread count.
"""

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("numpy", "polars", "xgboost", "xgboost-cpu", "torch", "onnx", "onnxruntime", "mlflow")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a fit came from; plain JSON values."""

    source: dict[str, Any]
    recipe: dict[str, Any]
    git_commit: str
    lock_sha256: str
    python: str
    machine: str
    n_cpus: int
    libraries: dict[str, str]

    def to_json(self) -> str:
        """Return JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Return the manifest that `to_json` wrote."""
        return cls(**json.loads(text))


def collect(source: Any, recipe: Any) -> Manifest:
    """Return the manifest of a fit with these parameter groups, on this machine, now."""
    return Manifest(
        source=asdict(source),
        recipe=asdict(recipe),
        git_commit=git_commit(),
        lock_sha256=lock_digest(),
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        n_cpus=os.cpu_count() or 1,
        libraries={name: found for name in LIBRARIES if (found := _installed(name))},
    )


@cache
def git_commit() -> str:
    """Return the checkout's commit, `-dirty` appended when files differ; `unknown` without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("-dirty" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@cache
def lock_digest() -> str:
    """Return the SHA-256 of requirements.lock; empty where there is none."""
    lock = ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
