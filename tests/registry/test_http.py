import os
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from registry import events, tracking_server
from registry.artifacts import ArtifactCache
from registry.errors import RegistryUnavailableError
from registry.versions import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow]  # starts a server
MODEL = "volatility_forecast"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(uri, process, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the MLflow server did not become healthy")


@pytest.fixture
def server(settings, prepared_mlflow, monkeypatch):
    """A real MLflow server: (address, process)."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "mlflow.db").write_bytes(prepared_mlflow.read_bytes())
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    line = tracking_server.command(settings.data_dir, "127.0.0.1", port)
    log = (settings.data_dir / "server.log").open("wb")
    environment = os.environ | tracking_server.ENVIRONMENT
    process = subprocess.Popen(
        line, stdout=log, stderr=log, env=environment, start_new_session=True
    )
    wait_until_healthy(uri, process)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    yield uri, process
    if process.poll() is None:
        kill(process)
    log.close()


def kill(process):
    """Kill the server with its worker process."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def test_a_version_goes_through_a_server_and_outlives_it(
    server, settings, engine, version_folder, contract, record
):
    from mlflow import MlflowClient

    uri, process = server
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run_id = client.create_run(client.create_experiment("over http")).info.run_id
    served = settings.model_copy(update={"mlflow_tracking_uri": uri})
    registry = Registry(served, engine)
    version = registry.register(version_folder, contract, record, run_id)
    registry.set_alias_staging(MODEL, 1)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    assert registry.aliases(MODEL) == {"staging": 1, "production": 1}
    files = ArtifactCache(served, engine).fetch(MODEL, 1)
    assert files.digests == version.digests

    kill(process)
    before = events.read(engine)
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        registry.resolve_alias(MODEL)
    assert time.monotonic() - started < 2
    assert events.read(engine) == before
    assert registry.alias_state(MODEL).number == 1
    assert ArtifactCache(served, engine).fetch(MODEL, 1) == files
