"""The three processes of the Procfile with a key, started once for every test that goes by HTTP."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo.processes import running, wait_for
from registry.database import open_engine
from registry.settings import PlatformSettings
from serving.keys import ALL_RIGHTS, key_in


@dataclass(frozen=True)
class Platform:
    """A running installation.

    `environment` is that of a shell beside it: `KEY` is the header, `URL` the address of serving.
    """

    environment: Mapping[str, str]
    key: str
    url: str
    database: sa.Engine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """MLflow, serving and a worker; tests use models and data of names of their own."""
    folder = tmp_path_factory.mktemp("platform")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        "DATA_DIR": str(folder / "var"),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "ML_ENGINE_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PATH": path,
    }
    database = open_engine(PlatformSettings(data_dir=folder / "var", database_url=""))
    _, key = key_in(database, folder / "var" / "key", ALL_RIGHTS, label="test", actor="test")
    url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
    with running(environment, folder / "log") as processes:
        for ready in (f"{environment['MLFLOW_TRACKING_URI']}/health", f"{url}/health"):
            wait_for(ready, 90, processes, folder / "log")
        shell = environment | {"KEY": f"X-API-Key: {key}", "URL": url}
        yield Platform(shell, key, url, database)
    database.dispose()
