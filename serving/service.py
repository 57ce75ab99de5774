"""Service: the parts of one serving process, opened together and closed together."""

from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import Request

from monitoring.prediction_log import PredictionLog
from registry.settings import PlatformSettings
from registry.versions import Registry
from serving.batches import Batches
from serving.data_files import DataFiles
from serving.engine import Engine
from serving.event_streams import EventStreams
from serving.executor import Executor
from serving.follower import Follower
from serving.history import History
from serving.metrics import Metrics
from serving.models import Models
from serving.posted_bars import PostedBars
from serving.security import Security
from serving.settings import ServingSettings
from serving.system import System


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a route may ask for."""

    settings: ServingSettings
    platform: PlatformSettings
    database: sa.Engine
    metrics: Metrics
    registry: Registry
    models: Models
    history: History
    log: PredictionLog
    engine: Engine
    follower: Follower
    writing: Executor
    posted_bars: PostedBars
    reporting: Executor
    managing: Executor
    security: Security
    system: System
    streams: EventStreams
    data_files: DataFiles
    batches: Batches

    def start(self) -> None:
        """Begin to follow the registry and the keys; returns at once."""
        self.security.keys.start()
        self.system.start()
        self.data_files.start()
        self.batches.start()
        self.follower.start()

    def close(self) -> None:
        """Stop following, finish what has begun, write the prediction log out."""
        try:
            self.streams.close()
            self.follower.close()
            self.security.keys.close()
            self.system.close()
            self.engine.close()
            self.writing.close()
            self.posted_bars.close()
            self.reporting.close()
            self.data_files.close()
            self.batches.close()
            self.managing.close()
            self.log.close()
        finally:
            self.database.dispose()


def service_of(request: Request) -> Service:
    """Return the service of the application that a request reached."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
