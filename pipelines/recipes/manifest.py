"""Run manifest: everything needed to tell where a version came from and to fit it again.

Logged with every run and stored beside every version: stage parameters, data digest and span,
feature fingerprint, label and cost specs, seed, git commit, lock digest, library versions,
processor, accelerator and thread count. `pipelines.replay` reads it back.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from registry.contract import ModelContract

ROOT = Path(__file__).resolve().parents[2]
COMMIT_FILE = "GIT_COMMIT"
LIBRARIES = (
    *("numpy", "polars", "scipy", "scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "catboost"),
    *("torch", "hmmlearn", "arch", "numba", "TA-Lib", "onnx", "onnxruntime", "mlflow"),
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a fit came from; plain JSON values.

    `data` holds source, sha256, file_sha256, start, end and n_bars; `threads` is what OpenMP
    libraries start.
    Fields with a default are missing from manifests of release 0.1.0.
    """

    source: dict[str, Any]
    recipe: dict[str, Any]
    git_commit: str
    lock_sha256: str
    python: str
    machine: str
    n_cpus: int
    libraries: dict[str, str]
    processor: str = ""
    accelerator: str = ""
    threads: int = 0
    seed: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    feature_fingerprint: str = ""
    label_spec: dict[str, Any] = field(default_factory=dict)
    cost_spec: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Return the manifest that `to_json` wrote."""
        return cls(**json.loads(text))


def collect(source: Any, recipe: Any, contract: ModelContract) -> Manifest:
    """Return the manifest of a fit with these parameter groups, on this machine, now."""
    data = asdict(contract.data)
    return Manifest(
        source=asdict(source),
        recipe=asdict(recipe),
        git_commit=git_commit(),
        lock_sha256=lock_digest(),
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        n_cpus=os.cpu_count() or 1,
        libraries={name: found for name in LIBRARIES if (found := _installed(name))},
        processor=processor(),
        accelerator=accelerator(),
        threads=threads(),
        seed=contract.seed,
        data={
            name: data[name]
            for name in ("source", "sha256", "file_sha256", "start", "end", "n_bars")
        },
        feature_fingerprint=contract.feature_fingerprint,
        label_spec=dict(contract.label_spec),
        cost_spec=dict(contract.cost_spec),
        parameters=dict(contract.parameters),
    )


def threads() -> int:
    """Return the number of threads of OpenMP libraries: OMP_NUM_THREADS, else the usable cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


@cache
def processor() -> str:
    """Return the name of the CPU model, as far as the system tells."""
    known = Path("/proc/cpuinfo")
    if known.is_file():
        lines = [line for line in known.read_text().splitlines() if line.startswith("model name")]
        if lines:
            return lines[0].partition(":")[2].strip()
    return platform.processor()


def accelerator() -> str:
    """Return the device that torch would fit on; empty for the CPU or where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "mps" if torch.backends.mps.is_available() else ""


@cache
def git_commit() -> str:
    """Return the checkout's commit, `-dirty` appended when files differ.

    An image has no git: it says its commit in the file `GIT_COMMIT`. `unknown` without either.
    """
    said = ROOT / COMMIT_FILE
    if said.is_file():
        return said.read_text().strip() or "unknown"
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
