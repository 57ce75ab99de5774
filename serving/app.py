"""The serving process: composition of its parts, the HTTP application, `main`.

`python -m serving.app` listens on 127.0.0.1:8400 and answers as soon as the port is open: MLflow
is imported and asked by the follower's thread. SIGINT and SIGTERM finish what has begun, write
the prediction log out and end with exit code 0. Importing this module imports no model library.
"""

import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

import sqlalchemy as sa
import structlog
import uvicorn
from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from monitoring.batch_log import BatchLog
from monitoring.prediction_log import PredictionLog
from monitoring.settings import HardwareSettings, PredictionLogSettings
from pipelines.data.sources.arrivals import ArrivalLimits
from pipelines.data.sources.store import BarStore
from registry import thread_priority
from registry.artifacts import ArtifactCache
from registry.command_line import run
from registry.database import open_engine
from registry.errors import MLEngineError, PortInUseError, SettingValueError
from registry.model_store import ModelStore
from registry.settings import PlatformSettings, read_settings
from registry.versions import Registry
from serving import errors
from serving.batches import MAX_WAITING, Batches
from serving.connections import BoundedProtocol, allow_many_files
from serving.data_files import make_data_files
from serving.engine import Engine
from serving.envelope import BodyLimits, Envelope
from serving.event_streams import EventStreams
from serving.executor import Executor
from serving.follower import Follower, Stores
from serving.forms import OnlineStore
from serving.gauges import SystemGauges
from serving.head_requests import HeadAsGet
from serving.history import History
from serving.keys import take_first_key
from serving.metrics import Metrics
from serving.models import Models
from serving.panels import Panels
from serving.posted_bars import PostedBars
from serving.route_table import built
from serving.routes import ROUTES
from serving.security import KeyRing, Security
from serving.service import Service
from serving.settings import LogLevel, ServingSettings
from serving.steps import Steps
from serving.system import engine_version, make_system

DESCRIPTION = """Predictions of registered models (from rows, from bars of the request, from the
bars that this engine holds, from texts, or for a portfolio), and everything that makes, watches and
deploys those models. A key is sent as `Authorization: Bearer ID.SECRET` or `X-API-Key: ID.SECRET`;
each address names the scope that it must have. Every error has one shape:
`{"error": {"code", "message", "details"?}}`. A number is a JSON number (text and `true` are
refused), a time is ISO 8601 with its zone, and an unknown field is refused by name."""
REGISTRY_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
DRAIN_SECONDS = 10
ACCEPTED_AT_ONCE = 16
"""New connections that are taken between two rounds of requests: uvloop takes one per listener, and
while the open ones are busy a hundred clients would wait for seconds."""
SWITCH_SECONDS = 0.0001
"""How long a thread keeps the interpreter while another waits: the event loop is the one that waits
while bars are parsed and written."""

GC_THRESHOLDS = (50_000, 20, 50)


def create_app(
    platform: PlatformSettings,
    serving: ServingSettings,
    logged: PredictionLogSettings,
    hardware: HardwareSettings | None = None,
) -> FastAPI:
    """Return the application; its parts start with its lifespan and end with it.

    Args:
        hardware: None reads them from the environment.

    Raises:
        UnavailableError: the engine database does not answer or is not migrated.
        NoKeysError: it would listen beyond loopback, and no valid key exists.
        ParameterError: FIRST_KEY_FILE cannot be used.
    """
    sampled = hardware or read_settings(HardwareSettings)
    service = _service(platform, serving, logged, sampled)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.close()

    app = FastAPI(
        title="Nautilus ML Engine",
        version=engine_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        routes=list(_routes()),
    )
    app.state.service, app.state.guard = service, service.security.guard
    app.add_middleware(
        Envelope,
        metrics=service.metrics,
        limits=BodyLimits(int(serving.max_body_size), serving.default_timeout),
    )
    app.add_middleware(HeadAsGet)
    errors.install(app)
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return the routes, built once: all applications of a process share them."""
    return tuple(built(ROUTES))


def _service(
    platform: PlatformSettings,
    serving: ServingSettings,
    logged: PredictionLogSettings,
    sampled: HardwareSettings,
) -> Service:
    database = open_engine(platform)
    store = BarStore(platform.bars_dir)
    try:
        security = _security(database, serving)
        store.recover(database)
    except MLEngineError:
        database.dispose()
        raise
    cache = ArtifactCache(platform, database)
    counted = Metrics()
    loaded = Models(
        cache, counted, int(serving.model_cache_size), is_measured=serving.auto_hardware_routing
    )
    history = History(store, _arrival_limits(serving))
    log = PredictionLog(platform.predictions_dir, logged)
    batched = BatchLog(platform.predictions_dir, is_kept=logged.prediction_log_batches)
    online = OnlineStore(history, Steps(), Panels(serving.panel_grace))
    engine = Engine(loaded, online, log, counted, serving)
    counted.watch(
        "ml_engine_prediction_log_dropped",
        "Predictions not logged.",
        lambda: log.dropped + batched.dropped,
    )
    counted.watch(
        "ml_engine_prediction_log_damaged",
        "Files of the prediction log that could not be read.",
        lambda: log.damaged,
    )
    counted.watch(
        "ml_engine_waiting_predictions",
        "Predictions that wait or run now.",
        lambda: engine.predicting.waiting,
    )
    counted.watch(
        "ml_engine_prediction_log_waiting",
        "Answered rows that are not on disk yet.",
        lambda: log.waiting,
    )
    registry = Registry(platform, database)
    stores = Stores(registry, ModelStore(platform.mlflow_tracking_uri), cache, database)
    follower = Follower(stores, loaded, counted, serving)
    shown = (serving, logged)
    system = make_system(database, history, counted.traffic, platform, sampled, shown)
    counted.add(SystemGauges(system, follower))
    return Service(
        settings=serving,
        platform=platform,
        database=database,
        metrics=counted,
        registry=registry,
        models=loaded,
        history=history,
        log=log,
        engine=engine,
        follower=follower,
        writing=Executor("bars", serving.max_waiting, is_behind=True),
        posted_bars=PostedBars(database),
        reporting=Executor("outcomes", serving.max_waiting, is_behind=True),
        managing=Executor("managing", serving.max_waiting, is_behind=True),
        security=security,
        system=system,
        streams=EventStreams(serving.max_event_streams),
        data_files=make_data_files(database, platform, serving),
        batches=Batches(
            platform,
            serving,
            database,
            loaded,
            engine,
            Executor("batches", MAX_WAITING),
            counted,
            batched,
        ),
    )


def _arrival_limits(serving: ServingSettings) -> ArrivalLimits:
    tolerance = timedelta(seconds=serving.bar_clock_tolerance)
    return ArrivalLimits(tolerance, serving.largest_move, serving.new_symbols)


def _security(database: sa.Engine, serving: ServingSettings) -> Security:
    if serving.first_key_file:
        take_first_key(database, Path(serving.first_key_file))
    return Security(KeyRing(database), serving)


def main() -> int:
    """Run the server until a signal; return the exit code."""
    for name, value in REGISTRY_PATIENCE.items():
        os.environ.setdefault(name, value)
    serving = read_settings(ServingSettings)
    configure_logging(serving.log_level)
    allow_many_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    thread_priority.lower_polars()  # what writes has many threads in it
    _collect_less()
    listener = listen(serving.ml_engine_host, serving.ml_engine_port)
    app = create_app(read_settings(PlatformSettings), serving, read_settings(PredictionLogSettings))
    config = server_config(app, serving)
    # uvicorn raises the signal again after its shutdown; by then there is nothing left to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with listener:
        listeners = [listener, *(listener.dup() for _ in range(1, ACCEPTED_AT_ONCE))]
        Server(config, app.state.service.streams).run(sockets=listeners)
    return 0


def _collect_less() -> None:
    """Leave what the imports made out of garbage collections, and make them less often.

    A request leaves no cycles, but its dictionaries start a collection every few requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Server(uvicorn.Server):
    """A server whose shutdown does not wait for streams of events."""

    def __init__(self, config: uvicorn.Config, streams: EventStreams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then wait for the requests that have begun."""
        self._streams.close()
        await super().shutdown(sockets)


def server_config(app: ASGIApp, serving: ServingSettings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        app,
        log_level=serving.log_level.lower(),
        http=BoundedProtocol,
        ws="none",  # there is none to open, and a refusal has the shape of every error
        access_log=False,
        lifespan="on",  # with "auto" a start that fails is a server that starts for ever
        proxy_headers=bool(serving.trusted_proxies),
        forwarded_allow_ips=serving.trusted_proxies,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, bound before anything is loaded.

    Raises:
        PortInUseError: another process has the port.
        SettingValueError: the address is not this machine's, or the port is not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named as TCP: only then does asyncio turn off the delay of small packets
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortInUseError(port, "ML_ENGINE_PORT") from exc
        raise SettingValueError("ML_ENGINE_HOST", f"{host}:{port}", str(exc.strerror)) from exc
    return listener


def configure_logging(level: LogLevel) -> None:
    """Write one JSON line per event to stderr, from `level` on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    run(main, "serving")
