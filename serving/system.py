"""System: what a serving process knows about itself and its machine, for /system/status.

One object per application. Nothing here waits for the database or MLflow: they are asked by
`serving.dependencies.Probe`, the hardware by `monitoring.sampler.Sampler`.
"""

import os
import platform as python_platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sqlalchemy as sa
from pydantic_settings import BaseSettings

from monitoring.backlog import Backlog, read_backlog
from monitoring.hardware import Machine
from monitoring.sampler import Sampler
from monitoring.settings import HardwareSettings
from registry.contract import Json
from registry.database import reading
from registry.errors import DamagedBarsError
from registry.settings import PlatformSettings
from serving.dependencies import Probe, masked
from serving.history import History
from serving.traffic import Traffic

ENGINE_PACKAGE = "nautilus-ml-engine"
FROM_SOURCE = "0.0.0+source"
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "mlflow": ("mlflow", "mlflow-skinny"),
    "onnxruntime": ("onnxruntime",),
    "torch": ("torch",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "catboost": ("catboost",),
    "scikit-learn": ("scikit-learn",),
    "coremltools": ("coremltools",),
    "evidently": ("evidently",),
    "numpy": ("numpy",),
    "polars": ("polars",),
    "sqlalchemy": ("sqlalchemy",),
    "fastapi": ("fastapi",),
    "uvicorn": ("uvicorn",),
    "pydantic": ("pydantic",),
    "nvidia-ml-py": ("nvidia-ml-py",),
}
"""Name -> the distributions that install it, the first one that is there counts."""
PAGE = bytes(65_536)
"""What is written to ask the disk whether it takes anything."""
HIDING = ("KEY", "SECRET", "PASSWORD", "TOKEN")
"""A setting with one of these in its name is shown as `set` or empty."""


@dataclass(frozen=True, slots=True)
class System:
    """Started and closed with the application."""

    started_at: datetime
    settings: Mapping[str, Json]
    traffic: Traffic
    database: Probe[str]
    store: Probe[str]
    disk: Probe[str]
    backlog: Probe[Backlog]
    hardware: Sampler

    def start(self) -> None:
        """Begin to sample the hardware; returns at once."""
        self.hardware.start()

    def close(self) -> None:
        """Stop sampling."""
        self.hardware.close()


def make_system(
    database: sa.Engine,
    history: History,
    traffic: Traffic,
    platform: PlatformSettings,
    hardware: HardwareSettings,
    others: Iterable[BaseSettings],
) -> System:
    """Return the system of one application, not started."""
    backlog = Probe("backlog", lambda: read_backlog(database))
    return System(
        started_at=datetime.now(UTC),
        settings=shown_settings([platform, *others, hardware]),
        traffic=traffic,
        database=Probe("database", lambda: _ask_database(database)),
        store=Probe("store", lambda: _ask_store(history)),
        disk=Probe("disk", lambda: _ask_disk(platform.data_dir)),
        backlog=backlog,
        hardware=Sampler(Machine(platform.data_dir, lambda: _worker_pids(backlog)), hardware),
    )


@cache
def versions() -> Mapping[str, str | None]:
    """Return what is installed, from the packages' metadata; nothing is imported for it."""
    libraries = {name: _first_installed(found) for name, found in PACKAGES.items()}
    python = {"python": python_platform.python_version()}
    return {"engine": engine_version(), **python, **libraries}


def engine_version() -> str:
    """Return the version of this code; a checkout that is not installed has none of its own."""
    return _first_installed((ENGINE_PACKAGE,)) or FROM_SOURCE


def shown_settings(kinds: Iterable[BaseSettings]) -> dict[str, Json]:
    """Return variable -> value, without anything that opens a door."""
    return {
        name.upper(): _shown(name.upper(), value)
        for settings in kinds
        for name, value in settings.model_dump(mode="json").items()
    }


def _shown(name: str, value: Json) -> Json:
    if any(part in name for part in HIDING):
        return "set" if value else ""
    return masked(value) if isinstance(value, str) else value


def _first_installed(distributions: tuple[str, ...]) -> str | None:
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _worker_pids(backlog: Probe[Backlog]) -> list[int]:
    """Return the processes of the workers that were known last, and ask for news."""
    backlog.refresh()
    known = backlog.newest()
    if known is None or known.value is None:
        return []
    pids = (worker.local_pid() for worker in known.value.workers)
    return [pid for pid in pids if pid is not None]


def _ask_database(database: sa.Engine) -> str:
    with reading(database) as connection:
        connection.execute(sa.text("SELECT 1"))
    return masked(database.url.render_as_string(hide_password=True))


def _ask_disk(folder: Path) -> str:
    """Write a page and take it away: free room alone says nothing of quotas and rights."""
    page = folder / f".probe-{os.getpid()}"
    try:
        with page.open("wb") as file:
            file.write(PAGE)
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            page.unlink(missing_ok=True)
    free = os.statvfs(folder)
    return f"{free.f_bavail * free.f_frsize / 2**30:.1f} GiB free"


def _ask_store(history: History) -> str:
    held = {name: len(history.symbols(name)) for name in history.intervals()}
    for name in held:
        if damaged := history.damaged(name):
            raise DamagedBarsError(name, damaged)
    return ", ".join(f"{n} symbols at {name}" for name, n in held.items()) or "no bars yet"
