"""A real server process is stopped and started again on its port; the client goes on."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from nautilus_ml_client import Client, NoAnswerError, Retries
from pipelines.jobs import queue
from registry.tables import jobs
from serving.keys import ALL_RIGHTS, key_in

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
FIRST = datetime(2007, 1, 1, tzinfo=UTC)
PATIENT = Retries(most=60, first_seconds=0.1, most_seconds=1.0)


class Process:
    """The server on one port and one folder, started and stopped as often as wanted."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url, self._folder, self._running = f"http://127.0.0.1:{self.port}", folder, None

    def start(self):
        variables = {
            "DATA_DIR": str(self._folder),
            "DATABASE_URL": "",
            "ML_ENGINE_PORT": str(self.port),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "HARDWARE_MONITORING": "false",
        }
        with (self._folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "serving.app"],
                cwd=ROOT,
                env=os.environ | variables,
                stdout=log,
                stderr=log,
            )

    def kill(self):
        self._running.kill()
        self._running.wait()

    @contextmanager
    def restarted(self):
        """Kill it, let the client run into nothing for a moment, start it again."""
        self.kill()
        later = threading.Timer(1.0, self.start)
        later.start()
        yield
        later.join()


@pytest.fixture
def process(settings, engine):
    started = Process(settings.data_dir)
    started.start()
    yield started
    started.kill()


def a_bar(day):
    at = (FIRST + timedelta(days=day)).isoformat()
    return {"symbol": "AAPL", "timestamp": at, "close": 100.0 + day}


def ended(engine, job_id):
    with engine.begin() as connection:
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == job_id)
            .values(state="done", ended_at=datetime.now(UTC))
        )


def test_a_client_goes_on_when_its_server_restarts(process, engine, settings):
    _, key = key_in(engine, settings.data_dir / "key", ALL_RIGHTS, label="t", actor="t")
    job = queue.enqueue(engine, "main", {"seed": 1})
    with Client(process.url, key=key, retries=PATIENT) as client:
        assert client.post_bars([a_bar(0)], interval="1d").accepted == 1
        with pytest.raises(NoAnswerError, match="after 1 try"):
            Client("http://127.0.0.1:9", retries=0).health()

        following = client.jobs.events(job.id)
        assert next(following).state == "queued"
        with process.restarted():
            kept = client.post_bars([a_bar(0), a_bar(1)], interval="1d")
        assert (kept.accepted, kept.duplicates) == (1, 1)

        waited = []
        waiter = threading.Thread(target=lambda: waited.append(client.jobs.wait(job.id)))
        waiter.start()
        with process.restarted():
            time.sleep(0.5)
        ended(engine, job.id)
        assert [seen.state for seen in following] == ["done"]
        waiter.join(60)
        assert [found.state for found in waited] == ["done"]
