"""What MLflow's client raises, against a server that fails, becomes one deliberate error."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from registry.artifact_download import download_files
from registry.errors import ArtifactStoreUnavailableError, RegistryUnavailableError
from registry.mlflow_failures import answering

FILES = "/api/2.0/mlflow-artifacts/artifacts"
AWAY = b'{"error_code": "INTERNAL_ERROR", "message": "2 failures\\n##### a #####\\nno endpoint"}'


class Failing(BaseHTTPRequestHandler):
    """MLflow's answers: {address: (status, body)}; any other address is 500."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self):
        status, body = self.answers.get(self.path, (500, b"Internal Server Error"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.do_GET()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """MLflow's client asks once; by itself it would ask for four minutes."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture
def server():
    """Start a server with answers; its address."""
    handler = type("Answering", (Failing,), {"answers": {}})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()

    def start(answers):
        handler.answers |= answers
        return f"http://127.0.0.1:{listening.server_port}"

    yield start
    listening.shutdown()
    listening.server_close()
    thread.join()


def fetch(address, folder, *names):
    return download_files("mlflow-artifacts:/1/m", address, names, folder)


def listing(*names):
    files = ", ".join(f'{{"path": "{name}", "is_dir": false}}' for name in names)
    return 200, f'{{"files": [{files}]}}'.encode()


def test_files_are_written_where_their_names_say(server, tmp_path):
    address = server({f"{FILES}/1/m/onnx/model.onnx": (200, b"net"), f"{FILES}/1/m/a": (200, b"")})
    assert fetch(address, tmp_path / "got", "onnx/model.onnx", "a") == tmp_path / "got"
    assert (tmp_path / "got/onnx/model.onnx").read_bytes() == b"net"
    assert (tmp_path / "got/a").read_bytes() == b""


def test_a_file_that_the_store_lacks_is_left_out(server, tmp_path):
    """MLflow answers 500 for it too; the listing tells the two apart."""
    address = server({f"{FILES}?path=1%2Fm": listing("b"), f"{FILES}/1/m/b": (200, b"there")})
    fetch(address, tmp_path, "a", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("seen", [{}, {f"{FILES}?path=1%2Fm": listing("a")}])
def test_a_store_that_is_away_is_one_line(server, tmp_path, seen):
    address = server({f"{FILES}/1/m/a": (500, AWAY)} | seen)
    with pytest.raises(ArtifactStoreUnavailableError) as raised:
        fetch(address, tmp_path, "a")
    away = "cannot be used now (HTTP 500: no endpoint); nothing is lost, try again"
    assert str(raised.value) == f"the artifact store of {address} {away}"
    assert raised.value.retry_after_seconds == 5


def test_an_upload_that_the_store_refuses_is_the_stores_fault(server, tmp_path):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    address = server({})
    (tmp_path / "a").write_text("a")
    repository = get_artifact_repository("mlflow-artifacts:/1/m", tracking_uri=address)
    with pytest.raises(ArtifactStoreUnavailableError, match=address), answering(address):
        repository.log_artifact(str(tmp_path / "a"))


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"Internal Server Error"),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no database"}'),
    ],
)
def test_a_question_that_ends_in_500_is_mlflows_fault(server, answer):
    from mlflow import MlflowClient

    address = server({"/api/2.0/mlflow/registered-models/get?name=m": answer})
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    with pytest.raises(RegistryUnavailableError, match=address), answering(address):
        client.get_registered_model("m")


def test_a_refusal_is_an_answer(server):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    said = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"}'
    address = server({"/api/2.0/mlflow/registered-models/get?name=m": (404, said)})
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    with pytest.raises(MlflowException, match="no such model"), answering(address):
        client.get_registered_model("m")


def test_files_of_a_server_that_is_not_there_are_mlflows_fault(tmp_path):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    (tmp_path / "a").write_text("a")
    address = "http://127.0.0.1:9"
    repository = get_artifact_repository("mlflow-artifacts:/1/m", tracking_uri=address)
    with pytest.raises(RegistryUnavailableError, match="does not answer"), answering(address):
        repository.log_artifact(str(tmp_path / "a"))
