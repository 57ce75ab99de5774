import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import httpx
import pytest
import uvicorn

from registry.command_line import run
from registry.errors import PortInUseError, SettingValueError
from serving.app import REGISTRY_PATIENCE, listen, main, server_config
from serving.settings import ServingSettings

HEAVY = (
    "torch",
    "coremltools",
    "evidently",
    "optuna",
    "xgboost",
    "pandas",
    "mlflow",
    "onnxruntime",
)


def start(tmp_path, port, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ML_", "MLFLOW_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "serving"],
        env=inherited
        | {
            "DATA_DIR": str(tmp_path / "var"),
            "ML_ENGINE_PORT": str(port),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(port, process):
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return answer.status
        except OSError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
    pytest.fail("not ready in 10 s")


@pytest.mark.integration
def test_importing_the_application_loads_no_model_library():
    script = f"import sys, serving.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(tmp_path, number):
    port = free_port()
    process = start(tmp_path, port)
    assert wait_until_ready(port, process) == 200
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.integration
def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path, taken.getsockname()[1])
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "is already in use; stop its process or set ML_ENGINE_PORT" in errors
    assert len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ML_ENGINE_PORT", "port"),
        ("ML_ENGINE_PORT", "70000"),
        ("MODEL_CACHE_SIZE", "much"),
        ("LOG_LEVEL", "LOUD"),
        ("DEFAULT_TIMEOUT", "0"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_line_and_exit_code_2(
    monkeypatch, capsys, variable, value
):
    for name in REGISTRY_PATIENCE:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        run(main, "serving")
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert f"{variable}='{value}'" in errors
    assert len(errors.splitlines()) == 1


def test_a_port_in_use_and_a_foreign_address_are_different_errors():
    with listen("127.0.0.1", 0) as taken, pytest.raises(PortInUseError):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingValueError, match="ML_ENGINE_HOST"):
        listen("203.0.113.1", 0)


@pytest.mark.parametrize(
    ("trusted", "sees"),
    [("", "http 127.0.0.1"), ("127.0.0.1", "https 192.0.2.7"), ("192.0.2.1", "http 127.0.0.1")],
)
def test_forwarded_headers_are_believed_from_configured_proxies_alone(trusted, sees):
    async def echo(scope, receive, send):
        text = f"{scope['scheme']} {scope['client'][0]}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    config = server_config(echo, ServingSettings(trusted_proxies=trusted, log_level="ERROR"))
    config.lifespan = "off"
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        answer = httpx.get(address, headers=headers)
        server.should_exit = True
        thread.join()
    assert answer.text == sees


def test_the_application_takes_the_lifespan_that_its_server_gives(app):
    said = []

    async def receive():
        return {"type": "lifespan.shutdown" if said else "lifespan.startup"}

    async def send(message):
        said.append(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    asyncio.run(app(scope, receive, send))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
