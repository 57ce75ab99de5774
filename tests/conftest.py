"""Fixtures that every package's tests share: settings on tmp_path, the engine database, MLflow.

An empty MLflow SQLite file takes seconds to make, so one is prepared per release of MLflow (kept in
pytest's cache, shared by the pytest-xdist workers) and copied per test.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# before a numeric library loads: the processes of pytest -n fill the cores, and threads of their
# own would only wait for each other

import gc
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from filelock import FileLock

from registry.database import connect, migrate, open_engine
from registry.settings import PlatformSettings

pytest_plugins = ("pytester", "tests.time_limit", "tests.groups")

PREPARE = (
    "import sys; from mlflow import MlflowClient; "
    "MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])"
    ".create_experiment('tests', artifact_location='file:///artifacts-of-this-test')"
)


def pytest_collection_finish() -> None:
    """Collect garbage less often, and leave out what the imports made: it lives to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def is_alive() -> Callable[[int], bool]:
    """Whether a process runs; one that has ended but is not reaped yet does not."""

    def ask(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return ask


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this test run that all processes of pytest -n see."""
    root = tmp_path_factory.getbasetemp()
    return root if worker_id == "master" else root.parent


@pytest.fixture(scope="session")
def compiled_kernels(shared_folder: Path) -> None:
    """The kernels of `alpha158`; numba compiles them for 10 s where it has not done so before."""
    import numpy as np

    from pipelines.data.bars import BarSeries
    from pipelines.data.features import FEATURE_SETS

    bars = BarSeries("AAA", np.arange(70), *np.ones((7, 70)))
    with FileLock(shared_folder / "kernels.lock"):
        FEATURE_SETS.get("alpha158").compute(bars)


@pytest.fixture
def new_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """Settings of an installation that does not exist yet; MLflow's address answers nothing."""
    for variable in ("DATABASE_URL", "DATA_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return PlatformSettings(data_dir=tmp_path / "var")


@pytest.fixture
def settings(new_settings: PlatformSettings, prepared_engine_database: Path) -> PlatformSettings:
    """`new_settings` whose engine database is there and migrated."""
    new_settings.data_dir.mkdir(parents=True)
    shutil.copy(prepared_engine_database, new_settings.data_dir / "engine.db")
    return new_settings


@pytest.fixture(scope="session")
def prepared_engine_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file; a copy of it costs less than a migration."""
    made = PlatformSettings(data_dir=tmp_path_factory.mktemp("prepared"), database_url="")
    open_engine(made).dispose()
    return made.data_dir / "engine.db"


@pytest.fixture
def engine(settings: PlatformSettings) -> Iterator[sa.Engine]:
    """A migrated engine database."""
    opened = open_engine(settings)
    yield opened
    opened.dispose()


@pytest.fixture
def postgres_settings(settings: PlatformSettings) -> Iterator[PlatformSettings]:
    """Settings of an empty PostgreSQL schema of this test; skips without TEST_POSTGRES_URL."""
    address = os.environ.get("TEST_POSTGRES_URL")
    if not address:
        pytest.skip("needs TEST_POSTGRES_URL")
    schema = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(address)
    with server.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    url = sa.make_url(address).update_query_dict({"options": f"-csearch_path={schema}"})
    yield settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})
    with server.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    server.dispose()


@pytest.fixture
def postgres_engine(postgres_settings: PlatformSettings) -> Iterator[sa.Engine]:
    """A migrated engine database on PostgreSQL."""
    opened = connect(postgres_settings)
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def prepared_mlflow(pytestconfig: pytest.Config) -> Path:
    """An MLflow SQLite file with one experiment called `tests`, made once per release of MLflow."""
    kept = pytestconfig.cache
    assert kept is not None
    prepared = kept.mkdir("mlflow") / f"{version('mlflow')}.db"
    with FileLock(f"{prepared}.lock"):
        if not prepared.exists():
            making = prepared.with_suffix(".making")
            environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
            command = [sys.executable, "-c", PREPARE, f"sqlite:///{making}"]
            subprocess.run(command, check=True, env=environment, capture_output=True)
            making.rename(prepared)
    return prepared


@pytest.fixture
def tracking_uri(
    settings: PlatformSettings,
    prepared_mlflow: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Address of an empty MLflow of this test alone; MLFLOW_TRACKING_URI points there too."""
    database = tmp_path / "mlflow.db"
    shutil.copy(prepared_mlflow, database)
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? || '/' || experiment_id",
            [(tmp_path / "mlartifacts").as_uri()],
        )
    connection.close()
    uri = f"sqlite:///{database}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return uri


@pytest.fixture(scope="session")
def new_installation(
    prepared_mlflow: Path, prepared_engine_database: Path
) -> Callable[[Path], PlatformSettings]:
    """Factory: the settings of an empty installation below a directory that does not exist yet."""

    def install(directory: Path) -> PlatformSettings:
        directory.mkdir(parents=True)
        shutil.copy(prepared_mlflow, directory / "mlflow.db")
        shutil.copy(prepared_engine_database, directory / "engine.db")
        uri = f"sqlite:///{directory}/mlflow.db"
        return PlatformSettings(data_dir=directory, database_url="", mlflow_tracking_uri=uri)

    return install


@pytest.fixture(scope="session")
def enter() -> Callable[[pytest.MonkeyPatch, PlatformSettings], None]:
    """Make the process one of an installation, as far as stages read it, until the undoing."""

    def enter(patch: pytest.MonkeyPatch, settings: PlatformSettings) -> None:
        patch.delenv("DATABASE_URL", raising=False)
        patch.setenv("DATA_DIR", str(settings.data_dir))
        patch.setenv("MLFLOW_TRACKING_URI", settings.mlflow_tracking_uri)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # stages set it: undone with the patch
        patch.delenv("MLFLOW_EXPERIMENT_ID")
        patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)

    return enter


@pytest.fixture
def installation(
    tmp_path: Path,
    new_installation: Callable[[Path], PlatformSettings],
    enter: Callable[[pytest.MonkeyPatch, PlatformSettings], None],
    monkeypatch: pytest.MonkeyPatch,
) -> PlatformSettings:
    """An empty installation of this test alone, entered, with the working directory beside it."""
    settings = new_installation(tmp_path / "var")
    enter(monkeypatch, settings)
    monkeypatch.chdir(tmp_path)
    return settings
