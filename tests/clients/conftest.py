"""Both clients against a real application in process, and against answers that a test scripts."""

import httpx
import polars as pl
import pytest

from nautilus_ml_client import AsyncClient, Client, Retries
from registry.database import open_engine
from serving.loading import load
from tests.serving.conftest import (  # noqa: F401 (fixtures, which pytest finds by their names)
    app,
    hardware_settings,
    installation,
    loaded,
    make,
    running,
    serving_settings,
    version_folder,
)
from tests.serving.test_compatibility import write_signals
from tests.serving.test_portfolio import write_portfolio
from tests.waiting import wait_for

URL = "http://127.0.0.1"
AT_ONCE = Retries(most=3, first_seconds=0.0, most_seconds=0.0)


class InProcess(httpx.BaseTransport):
    """Sends a blocking client's requests to an application that runs in a thread."""

    def __init__(self, application, portal):
        self._asgi = httpx.ASGITransport(application, raise_app_exceptions=False)
        self._portal = portal

    @classmethod
    def of(cls, asking):
        return cls(asking.application, asking._portal)

    def handle_request(self, request):
        whole = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        response = self._portal.call(self._asgi.handle_async_request, whole)
        content = self._portal.call(response.aread)
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class Asking:
    """Runs a call with one of the two clients; streams come back as lists."""

    def __init__(self, kind, opened, key=None):
        self._portal = opened._portal
        self.application = opened.app
        if kind == "Client":
            transport = InProcess(opened.app, opened._portal)
            self.client = Client(URL, key=key, retries=AT_ONCE, transport=transport)
        else:
            transport = httpx.ASGITransport(opened.app, raise_app_exceptions=False)
            self.client = AsyncClient(URL, key=key, retries=AT_ONCE, transport=transport)

    def __call__(self, call):
        if isinstance(self.client, Client):
            return call(self.client)

        async def awaited():
            return await call(self.client)

        return self._portal.call(awaited)

    def items(self, stream):
        if isinstance(self.client, Client):
            return list(stream(self.client))

        async def collected():
            return [item async for item in stream(self.client)]

        return self._portal.call(collected)


KINDS = ("Client", "AsyncClient")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def small_versions(loaded, make, tmp_path):  # noqa: F811
    """Three loaded versions: the tiny one, signals and portfolio risk."""
    versions = [loaded]
    for model_id, write in (
        ("trading_signals", write_signals),
        ("portfolio_risk", write_portfolio),
    ):
        write(tmp_path / model_id, make.contract())
        files = make.files(tmp_path / model_id, model_id)
        versions.append([*load(files, model_id, 1, is_measured=False)][-1])
    return versions


def serve(application, versions):
    models = application.state.service.models
    models.learn({version.model_id: {"production": 1} for version in versions})
    for version in versions:
        models.serve(version)


@pytest.fixture
def served(app, running, small_versions):  # noqa: F811
    """A running application with three models that answer; nobody needs a key."""
    with running(app) as opened:
        serve(app, small_versions)
        yield opened


@pytest.fixture
def ask(served, kind):
    return Asking(kind, served)


@pytest.fixture
def bars(make):  # noqa: F811
    return pl.concat([make.bars(symbol) for symbol in ("AAPL", "MSFT")])


@pytest.fixture
def scripted():
    """Factory: a blocking client whose answers come from a list; `.sent` are the requests."""

    def script(*answers, retries=AT_ONCE, key=None):
        left, sent = list(answers), []

        def answer(request):
            sent.append(request)
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        client = Client(URL, key=key, retries=retries, transport=httpx.MockTransport(answer))
        client.sent = sent
        return client

    return script


@pytest.fixture
def manager(installation, running, kind):  # noqa: F811
    """A client with every right, and an application on an MLflow with one registered version."""
    installation.register(is_first=True)
    application = installation.app()
    headers = installation.key(application, "read", "manage", "predict")
    key = headers["authorization"].removeprefix("Bearer ")
    with running(application) as opened:
        yield Asking(kind, opened, key)


@pytest.fixture
def whole(installation, running, small_versions, bars):  # noqa: F811
    """A blocking client with every right; an MLflow, bars, and three models that answer."""
    installation.register(is_first=True)
    application = installation.app(alias_poll_interval=60)
    headers = installation.key(application, "read", "manage", "predict")
    key = headers["authorization"].removeprefix("Bearer ")
    with running(application) as opened:
        service = application.state.service
        wait_for(lambda: service.follower.registry_status.is_reachable)
        service.follower.close()  # it does not know the models that come
        serve(application, small_versions)
        asking = Asking("Client", opened, key)
        asking.client.post_bars(bars, interval="1d", price_basis="adjusted")
        yield asking


@pytest.fixture
def database(settings):
    opened = open_engine(settings)
    yield opened
    opened.dispose()
