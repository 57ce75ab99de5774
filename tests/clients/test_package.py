"""The package: what it imports, what its two clients have in common, and its pages."""

import ast
import contextlib
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import nautilus_ml_client
from nautilus_ml_client import AsyncClient, Client
from nautilus_ml_client.answers import Recipe
from tests.clients import environment
from tests.clients.conftest import URL, InProcess

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text()
SOURCES = sorted((ROOT / "client" / "nautilus_ml_client").rglob("*.py"))
SERVER = {"registry", "pipelines", "monitoring", "serving"}
FRAMES = {"pandas", "polars", "pyarrow"}
IMPORTED = """
import sys
import nautilus_ml_client, nautilus_ml_client.compatibility
from nautilus_ml_client import Client, NoAnswerError
print(sorted({name.partition(".")[0] for name in sys.modules}))
try:
    Client("http://127.0.0.1:9", retries=0).health()
except NoAnswerError as error:
    print(error)
"""


def _imports(path, anywhere):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_module_needs_the_standard_library_httpx_and_pydantic(path):
    allowed = sys.stdlib_module_names | {"httpx", "pydantic", "nautilus_ml_client"}
    assert set(_imports(path, anywhere=False)) - allowed == set()
    assert set(_imports(path, anywhere=True)) - allowed - FRAMES == set()


@pytest.mark.integration
def test_the_installed_package_works_with_nothing_else(tmp_path):
    site, script = environment.install(tmp_path), tmp_path / "script.py"
    script.write_text(IMPORTED)
    done = subprocess.run(
        environment.command(site, script), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed, told = done.stdout.splitlines()
    modules = set(ast.literal_eval(listed))
    assert {"httpx", "pydantic", "nautilus_ml_client"} <= modules
    assert modules & (SERVER | FRAMES | {"numpy", "fastapi", "sqlalchemy", "mlflow"}) == set()
    assert told.startswith("no answer from GET /health after 1 try: ")
    assert (site / "nautilus_ml_client" / "py.typed").exists()


def _calls(kind):
    return {name for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_both_clients_have_the_same_calls():
    blocking, awaiting = Client(), AsyncClient()
    assert _calls(Client) == _calls(AsyncClient)
    for group in ("models", "jobs", "automl", "hyperopt", "data", "bars", "keys"):
        first, second = type(getattr(blocking, group)), type(getattr(awaiting, group))
        assert _calls(first) == _calls(second)
        for name in _calls(first):
            one, other = getattr(first, name), getattr(second, name)
            assert one.__wrapped__ is other.__wrapped__


def test_every_call_is_in_the_page_and_no_other():
    groups = r"^\| `?(client|models|jobs|automl|hyperopt|data|bars|keys)`? \| (.+) \|$"
    shown = dict(re.findall(groups, PAGE, re.MULTILINE))
    client = Client()
    for group, line in shown.items():
        found = _calls(Client) if group == "client" else _calls(type(getattr(client, group)))
        assert set(re.findall(r"`(\w+)`", line)) == found
    assert len(shown) == 8


def test_every_error_is_in_the_page():
    named = [name for name in nautilus_ml_client.__all__ if name.endswith("Error")]
    assert [name for name in named if f"`{name}`" not in PAGE] == []


def test_the_keywords_of_a_recipe_are_those_of_the_body():
    from serving.model_bodies import Recipe as Body

    assert set(Recipe.__annotations__) == set(Body.model_fields)


# The pages' Python --------------------------------------------------------------------------------

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def _run(text, asking, monkeypatch):
    """Run a page's Python against an application in process; return what it printed."""
    portal, application, key = asking._portal, asking.application, asking.client._sender.server.key

    def blocking(_, **options):
        return Client(URL, **options | {"key": key}, transport=InProcess(application, portal))

    def awaiting(_, **options):
        transport = _ThroughPortal(application, portal)
        return AsyncClient(URL, **options | {"key": key}, transport=transport)

    monkeypatch.setattr(nautilus_ml_client, "Client", blocking)
    monkeypatch.setattr(nautilus_ml_client, "AsyncClient", awaiting)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, "page", "exec"), {"__name__": "page"})
    return printed.getvalue()


class _ThroughPortal(httpx.AsyncBaseTransport):
    """Sends to an application that runs in another thread's event loop."""

    def __init__(self, application, portal):
        self._blocking = InProcess(application, portal)

    async def handle_async_request(self, request):
        return self._blocking.handle_request(request)


def _blocks(name, after=""):
    text = (ROOT / name).read_text()
    return "\n".join(PYTHON.findall(text[text.index(after) :]))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "after", "printed"),
    [
        ("docs/client.md", "\n## Asking", "no_history no history for 'GOOGL'"),
        ("README.md", "", "HOLD"),
        ("client/README.md", "", "0."),
    ],
    ids=["docs", "README", "README of the package"],
)
def test_the_python_of_a_page_runs(whole, monkeypatch, tmp_path, name, after, printed):
    (tmp_path / "here" / "var").mkdir(parents=True)
    (tmp_path / "here" / "var" / "key").write_text("ID.SECRET\n")
    monkeypatch.chdir(tmp_path / "here")
    assert printed in _run(_blocks(name, after), whole, monkeypatch)
