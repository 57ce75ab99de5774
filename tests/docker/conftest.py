"""Servers of the tests here; where they must be there (CI on Linux) nothing is skipped."""

import os
import sys
from importlib.util import find_spec

import pytest
from filelock import FileLock

from tests.docker import image
from tests.docker.servers import PostgresServer, S3Server, postgres_tools


def missing(what: str) -> None:
    """Skip with the reason; in CI fail, where .ci/run installs it."""
    if os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture
def postgres(tmp_path_factory):
    """A running PostgreSQL of this test alone, with passwords; empty."""
    tools = postgres_tools()
    if tools is None:
        missing("PostgreSQL's initdb and pg_ctl")
    folder = tmp_path_factory.mktemp("postgres")
    server = PostgresServer(tools, folder / "cluster")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_packages():
    """Skips where the packages of an S3 store are not installed."""
    for package in ("boto3", "moto"):
        if find_spec(package) is None:
            missing(f"the package {package}")


@pytest.fixture
def s3(s3_packages, tmp_path):
    """A running S3 store of this test alone; empty."""
    server = S3Server(tmp_path / "s3.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def serving_bin(shared_folder):
    """The environment of serving's image, installed as its Dockerfile says, once per test run."""
    folder = shared_folder / "serving-image"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            image.install("serving", folder)
    return folder / "venv" / "bin"
