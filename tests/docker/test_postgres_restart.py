"""PostgreSQL is restarted under load: nothing is answered 500, nothing is lost, nothing twice."""

import threading
import time
from collections import Counter

import httpx
import pytest
import sqlalchemy as sa

from tests.docker.composed import Composed
from tests.docker.servers import wait_for, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.integration]
MODEL = {
    "template": "volatility_forecast",
    "source": "synthetic",
    "symbols": "AAA,BBB",
    "end": "2002-12-31",
}
READS = ("/jobs", "/models", "/events", "/health", "/health/ready", "/system/status")
UNTOUCHED = ("/bars", "/health", "/health/ready", "/system/status")
"""What is answered without the database."""
PATIENCE_SECONDS = 30


@pytest.fixture
def composed(tmp_path, postgres):
    """Serving and a worker on PostgreSQL; MLflow and its store are away all the time."""
    made = Composed(tmp_path, postgres, "http://127.0.0.1:9")
    made.run("migrate")
    serving = made.start("serving")
    wait_for(f"{made.address}/health/ready", serving)
    made.worker = made.start("worker")
    engine = sa.create_engine(postgres.url("engine"))
    wait_until(lambda: seen_ago(engine) < PATIENCE_SECONDS)
    engine.dispose()
    yield made
    made.processes.stop()


def seen_ago(engine):
    """Return how many seconds ago the worker said that it lives."""
    with engine.connect() as connection:
        seen = connection.execute(sa.text("SELECT max(seen_at) FROM workers")).scalar_one()
    return float("inf") if seen is None else time.time() - seen.timestamp()


class Load:
    """Callers that ask until they are told to stop; a refused write is sent again, as told."""

    def __init__(self, composed):
        self._stop = threading.Event()
        self._client = {
            "base_url": composed.address,
            "headers": {"X-API-Key": composed.key},
            "timeout": PATIENCE_SECONDS,
        }
        self.statuses, self.accepted = Counter(), {}
        work = (self._read, self._read, self._write, self._post_bars)
        self._threads = [
            threading.Thread(target=self._run, args=(each, number))
            for number, each in enumerate(work)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _run(self, work, number):
        with httpx.Client(**self._client) as client:
            n = 0
            while not self._stop.is_set():
                work(client, f"{number}-{n}")
                n += 1
                time.sleep(0.01)

    def _read(self, client, _name):
        for path in READS:
            self.statuses["GET", path, client.get(path).status_code] += 1

    def _write(self, client, name):
        """Make a model once; the same key makes a second try harmless."""
        body, key = MODEL | {"model_id": f"model_{name}"}, {"Idempotency-Key": f"key-{name}"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            answer = client.post("/models", json=body, headers=key)
            self.statuses["POST", "/models", answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted[body["model_id"]] = answer.json()["job_id"]
                return
            assert answer.headers["Retry-After"] == "5"
            time.sleep(0.2)

    def _post_bars(self, client, name):
        bar = {"symbol": f"S{name}", "timestamp": "2007-01-03T00:00:00Z", "close": 2.99}
        body = {"bars": [bar], "interval": "1d", "price_basis": "adjusted"}
        self.statuses["POST", "/bars", client.post("/bars", json=body).status_code] += 1


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_serving_and_worker_outlive_a_restart_under_load(composed, postgres, how):
    with Load(composed) as load:
        time.sleep(2)
        postgres.stop(how)
        time.sleep(2)
        postgres.start()
        time.sleep(3)
    counted = Counter()
    for (_, _, status), n in load.statuses.items():
        counted[status] += n
    assert set(counted) == {200, 202, 503}, load.statuses
    held = {status for _, path, status in load.statuses if path in UNTOUCHED}
    assert held == {200}
    with httpx.Client(base_url=composed.address, headers={"X-API-Key": composed.key}) as client:
        assert {client.get(path).status_code for path in READS} == {200}
        jobs = client.get("/jobs", params={"limit": 1000}).json()["jobs"]
    assert len(jobs) == len(load.accepted)
    assert {job["model_id"]: job["job_id"] for job in jobs} == load.accepted
    engine = sa.create_engine(postgres.url("engine"))
    wait_until(lambda: seen_ago(engine) < 2)  # it is said every five seconds
    engine.dispose()
    assert composed.worker.poll() is None
    said = composed.processes.said("worker") + composed.processes.said("serving")
    assert "Traceback" not in said
