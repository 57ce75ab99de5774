"""What the process says of itself, and that it answers while what it uses hangs."""

import asyncio
import json
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.settings import HardwareSettings, PredictionLogSettings
from pipelines.jobs import queue
from registry.settings import PlatformSettings
from registry.tables import workers
from serving import dependencies
from serving.app import create_app
from serving.dependencies import Probe, masked
from serving.follower import RegistryStatus
from serving.settings import ServingSettings
from serving.system import shown_settings
from serving.traffic import N_SECONDS, PerSecond, Traffic

HIDDEN = "hunter2"


@pytest.fixture
def sampled(settings, serving_settings, running):
    """A client of an application that has sampled its machine."""
    hardware = HardwareSettings()
    app = create_app(settings, serving_settings, PredictionLogSettings(), hardware)
    with running(app) as client:
        wait_for(lambda: app.state.service.system.hardware.newest)
        yield client


@pytest.fixture
def release():
    """What a dependency that hangs waits for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def follow(client, app, monkeypatch):
    """Make the follower's last look at MLflow this one."""

    def follow(status):
        follower = app.state.service.follower
        monkeypatch.setattr(follower, "_set_status", lambda *_: None)
        wait_for(lambda: follower.is_ready)
        follower.registry_status = status

    return follow


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def gauges_of(text):
    """Return {(metric, label value or None): value}."""
    return {
        (sample.name.removeprefix("ml_engine_"), next(iter(sample.labels.values()), None)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == "gauge" and len(sample.labels) <= 1
    }


# /health ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "status"), [(True, "ok"), (False, "degraded")])
def test_health_has_healthy_and_its_time_beside_the_status(client, follow, answers, status):
    follow(RegistryStatus(answers, "here"))
    answer = client.get("/health")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["healthy"]) == (status, answers)
    assert 0 < answer.json()["response_time_ms"] < 5000


def test_ready_says_whether_to_send_requests(client, app):
    service = app.state.service
    wait_for(lambda: service.follower.is_ready)
    assert client.get("/health/ready").json() == {"ready": True}
    service.follower._ready.clear()
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert client.get("/health").status_code == 503


def test_health_answers_while_the_database_hangs(client, app, release, monkeypatch):
    system = app.state.service.system
    monkeypatch.setattr(system.database, "_ask", release.wait)
    monkeypatch.setattr(system.store, "_ask", release.wait)
    monkeypatch.setattr(system.backlog, "_ask", release.wait)
    system.database._newest = system.store._newest = None
    started = time.monotonic()
    body = client.get("/health").json()
    assert time.monotonic() - started < 4 * dependencies.PATIENCE_SECONDS
    assert body["healthy"] is False
    assert re.fullmatch(r"no answer for \d+\.\d s", body["dependencies"]["database"]["detail"])
    n_threads = threading.active_count()
    started = time.monotonic()
    for _ in range(30):
        assert client.get("/health").json()["dependencies"]["database"]["ok"] is False
    assert time.monotonic() - started < 2 * dependencies.PATIENCE_SECONDS  # nobody waits again
    assert threading.active_count() <= n_threads  # and a question is open once
    status = client.get("/system/status").json()
    assert (status["workers"], status["queues"]["jobs"]) == (None, None)
    found = gauges_of(client.get("/metrics").text)
    assert found["dependency_up", "database"] == 0
    assert ("jobs", "queued") not in found


def test_health_answers_while_mlflow_hangs(settings, serving_settings, hardware_settings, running):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it takes connections and says nothing
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        platform = settings.model_copy(update={"mlflow_tracking_uri": uri})
        app = create_app(platform, serving_settings, PredictionLogSettings(), hardware_settings)
        with running(app) as client:
            wait_for(lambda: app.state.service.follower.is_ready)
            started = time.monotonic()
            answer = client.get("/health")
            assert time.monotonic() - started < 2 * dependencies.PATIENCE_SECONDS
            assert answer.status_code == 200
            assert client.get("/health/ready").status_code == 200
            assert answer.json()["dependencies"]["mlflow"]["ok"] is not True


def test_health_recovers_with_the_database(client, app, monkeypatch):
    probe = app.state.service.system.database
    event = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(probe, "_ask", event.wait)
        assert client.get("/health").json()["dependencies"]["database"]["ok"] is False
    event.set()
    wait_for(lambda: probe._open is None)
    monkeypatch.setattr(dependencies, "FRESH_SECONDS", 0.0)
    assert client.get("/health").json()["dependencies"]["database"]["ok"] is True


def test_health_tells_no_password(client, app, follow, monkeypatch):
    def refuse():
        raise OSError(f"no route to postgresql://ada:{HIDDEN}@db/engine?password={HIDDEN}\nmore")

    service = app.state.service
    monkeypatch.setattr(service.system.database, "_ask", refuse)
    follow(RegistryStatus(False, f"MLflow at http://ada:{HIDDEN}@ml does not answer"))
    text = client.get("/health").text
    assert HIDDEN not in text
    assert "postgresql://***@db/engine?password=***" in text
    assert "http://***@ml" in text


# Probe ------------------------------------------------------------------------------------------


def test_a_probe_asks_once_for_many_callers():
    asked, go = [], threading.Event()

    def ask():
        asked.append(1)
        go.wait(5)
        return "here"

    async def many():
        waiting = asyncio.gather(*(probe.answer() for _ in range(50)))
        await asyncio.sleep(0.01)
        go.set()
        return await waiting

    probe = Probe("test", ask)
    assert {answer.value for answer in asyncio.run(many())} == {"here"}
    assert len(asked) == 1


def test_a_probe_survives_a_bug_in_what_it_asks():
    probe = Probe("test", lambda: 1 / 0)
    answer = asyncio.run(probe.answer())
    assert (answer.value, answer.problem) == (None, "ZeroDivisionError")


def test_masked_leaves_addresses_without_passwords_alone():
    kept = "http://127.0.0.1:5000 sqlite:////srv/engine.db ada@desk.example"
    assert masked(kept) == kept


@pytest.mark.parametrize("password", ["x", "a/b", "a@b", "a:b", "@/"])
def test_masked_takes_any_password_out(password):
    text = f"no route to postgresql://ada:{password}@db/engine now"
    assert masked(text) == "no route to postgresql://***@db/engine now"


# /system/status ---------------------------------------------------------------------------------


def test_status_names_versions_workers_and_queues(client, app):
    service, now = app.state.service, datetime.now(UTC)
    queue.enqueue(service.database, "advance", {})
    row = {"owner": "host:1", "n_slots": 2, "started_at": now, "seen_at": now}
    with service.database.begin() as connection:
        connection.execute(workers.insert(), [row | {"seen_at": now - timedelta(seconds=40)}])
    body = client.get("/system/status").json()
    assert re.fullmatch(r"3\.\d+\.\d+", body["versions"]["python"])
    assert body["versions"]["engine"] == client.get("/openapi.json").json()["info"]["version"]
    assert body["versions"]["mlflow"].startswith("3.")
    assert body["queues"]["jobs"]["queued"] == 1
    assert body["queues"]["waiting_predictions"] == 0
    [worker] = body["workers"]
    assert (worker["owner"], worker["n_slots"]) == ("host:1", 2)
    assert 40 <= worker["seen_seconds_ago"] < 100
    assert 0 < body["uptime_seconds"] < 600
    found = gauges_of(client.get("/metrics").text)
    assert found["jobs", "queued"] == 1
    assert found["worker_seen_seconds_ago", None] >= 40


def test_traffic_of_the_last_minutes_is_counted(client, app, post_history):
    post_history("AAPL")
    body = {"model": "volatility_forecast", "symbols": ["AAPL"]}
    assert client.post("/predict", json=body).status_code == 200
    assert client.get("/models/no_such").status_code == 404
    for _ in range(5):
        client.get("/health")
    found = client.get("/system/status").json()["traffic"]["1m"]
    assert (found["requests"], found["refused"], found["errors"]) == (3, 1, 0)
    assert (found["predictions"], found["error_rate"]) == (1, 0.0)
    rate = gauges_of(client.get("/metrics").text)["recent_requests_per_second", "1"]
    assert 3 / 60 <= rate <= 3


def test_status_tells_no_secret(monkeypatch, settings):
    platform = PlatformSettings(
        data_dir=settings.data_dir,
        database_url=f"postgresql://ada:{HIDDEN}@db/engine",
        mlflow_tracking_uri=f"http://ada:{HIDDEN}@ml:5000",
    )
    serving = ServingSettings(first_key_file=f"/run/{HIDDEN}")
    shown = shown_settings([platform, serving])
    assert HIDDEN not in json.dumps(shown)
    assert shown["FIRST_KEY_FILE"] == "set"
    assert shown["DATABASE_URL"] == "postgresql://***@db/engine"
    assert shown["MAX_BATCH_SIZE"] == 1000


# /hardware/utilization --------------------------------------------------------------------------


def test_hardware_is_shown_live_and_as_history(sampled):
    body = sampled.get("/hardware/utilization").json()
    assert (body["is_sampled"], body["problem"]) == (True, None)
    assert body["live"]["memory"]["total_bytes"] == psutil.virtual_memory().total
    assert body["live"]["power_watts"] is None
    assert "power_watts" in body["live"]["unread"]
    assert 0 <= body["age_seconds"] < 60
    assert body["history"][0]["memory_percent"] > 0


def test_metrics_have_the_same_numbers_and_no_sample_for_null(sampled):
    found = gauges_of(sampled.get("/metrics").text)
    live = sampled.get("/hardware/utilization").json()["live"]
    assert found["memory_total_bytes", None] == live["memory"]["total_bytes"]
    assert found["disk_total_bytes", None] == live["disk"]["total_bytes"]
    assert found["processes", "worker"] == 0
    assert found["process_memory_bytes", "serving"] > 10_000_000
    for name in ("power_watts", "neural_engine_percent"):
        assert (name, None) not in found
    assert ("process_memory_bytes", "worker") not in found


def test_switched_off_hardware_says_so(client):
    body = client.get("/hardware/utilization").json()
    assert (body["is_sampled"], body["live"], body["history"]) == (False, None, [])
    assert "HARDWARE_MONITORING is false" in body["problem"]
    assert ("cpu_percent", None) not in gauges_of(client.get("/metrics").text)


# Traffic ----------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


def test_windows_forget_what_is_older():
    clock = Clock()
    traffic = Traffic(clock)
    for _ in range(60 * 20):
        clock.now += 1.0
        traffic.count_request("/predict", 200)
        traffic.count_predictions(3)
    traffic.count_request("/predict", 503)
    minute, quarter = traffic.of_last(1), traffic.of_last(15)
    assert (minute.requests, minute.errors, minute.predictions) == (61, 1, 180)
    assert (quarter.requests, quarter.seconds) == (901, 900.0)
    assert minute.error_rate == pytest.approx(1 / 61)
    assert minute.predictions_per_second == 3.0
    clock.now += 60.0
    assert traffic.of_last(1).error_rate is None
    assert traffic.of_last(5).requests == 241
    clock.now += 10 * N_SECONDS
    assert traffic.of_last(15).requests == 0


def test_a_young_process_divides_by_its_age():
    clock = Clock()
    traffic = Traffic(clock)
    clock.now += 10.0
    for _ in range(20):
        traffic.count_request("/bars", 200)
    assert traffic.of_last(15).requests_per_second == 2.0


def test_a_count_stays_in_its_second():
    counts = PerSecond()
    counts.add(7)
    counts.add(7 + N_SECONDS, 5)
    assert counts.sum(0, 7 + N_SECONDS) == 5
    assert counts.sum(8, 6 + N_SECONDS) == 0
