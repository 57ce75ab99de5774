"""The whole way: versions registered in MLflow, followed, refused, swapped; MLflow away."""

import time
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from registry.artifacts import ArtifactCache
from registry.errors import ArtifactStoreUnavailableError
from serving import follower
from tests.examples import failing_record
from tests.waiting import wait_for

MODEL = "volatility_forecast"
DEAD_MLFLOW = "http://127.0.0.1:9"
FAILING = failing_record("better")

pytestmark = pytest.mark.integration


def serving_version(app):
    version = app.state.service.models.production().get(MODEL)
    return None if version is None else version.number


def problem(app) -> str:
    found = app.state.service.models.problem(MODEL)
    return "" if found is None else found.reason


def post_history(client, make):
    frame = pl.concat([make.bars("AAPL"), make.bars("MSFT")])
    body = {"bars": make.body(frame), "interval": "1d", "price_basis": "adjusted"}
    assert client.post("/bars", json=body).json()["accepted"] == len(frame)


def ask(client, **more):
    return client.post("/predict", json={"model": MODEL, "symbols": ["AAPL", "MSFT"]} | more)


def test_a_promoted_version_is_served_without_a_restart(installation, running, make):
    installation.register(is_first=True)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: "promote one" in problem(app))
        post_history(client, make)
        answer = ask(client)
        assert answer.status_code == 503
        assert "promote one" in answer.json()["error"]["message"]

        installation.promote(1)
        wait_for(lambda: serving_version(app) == 1)
        first = ask(client).json()
        assert (first["model_version"], len(first["predictions"])) == (1, 2)

        installation.register(seed=2)
        installation.registry.set_alias_staging(MODEL, 2)
        wait_for(lambda: app.state.service.models.aliases()[MODEL].get("staging") == 2)
        staged = ask(client, alias="staging").json()
        assert staged["model_version"] == ask(client, version=2).json()["model_version"] == 2
        assert serving_version(app) == 1

        installation.promote(2)
        wait_for(lambda: serving_version(app) == 2)
        second = ask(client).json()
        assert second["predictions"] == staged["predictions"]
        assert second["predictions"] != first["predictions"]

        facts = client.get(f"/models/{MODEL}").json()
        assert [version["version"] for version in facts["versions"]] == [1, 2]
        assert facts["deployment"]["champion"] == 2
        assert facts["versions"][0]["gates"][0]["passed"] is True
        assert facts["loaded"][0]["artifacts"] == ["onnx.fp32/cpu"]
        page = client.get("/")
        assert MODEL in page.text
        assert "version 2" in page.text


def test_an_alias_moved_by_hand_to_a_refused_version_is_not_followed(installation, running, make):
    installation.register(is_first=True)
    installation.promote(1)
    installation.register(FAILING, seed=2)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        post_history(client, make)
        installation.mlflow.set_registered_model_alias(MODEL, "production", "2")
        wait_for(lambda: "quality.dm_ewma" in problem(app))
        assert ask(client).json()["model_version"] == 1
        assert "alias_moved_outside" in installation.kinds()
        line = client.get("/models").json()["models"][0]
        assert line["serving_version"] == 1
        assert "moved outside" in line["problem"]
        assert client.get("/health").json()["status"] == "degraded"

        installation.mlflow.set_registered_model_alias(MODEL, "production", "1")
        wait_for(lambda: problem(app) == "")


def test_an_alias_removed_by_hand_is_told_and_the_version_goes_on(installation, running):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        installation.mlflow.delete_registered_model_alias(MODEL, "production")
        wait_for(lambda: "the alias was removed in MLflow; version 1 goes on" in problem(app))
        assert serving_version(app) == 1
        assert client.get("/health").json()["status"] == "degraded"
        installation.promote(1)
        wait_for(lambda: problem(app) == "")
    assert installation.kinds().count("alias_moved_outside") == 1


def test_a_withdrawn_model_stops_answering_also_after_a_restart_without_mlflow(
    installation, running, make
):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        post_history(client, make)
        wait_for(lambda: (installation.platform.cache_dir / "aliases.json").exists())
    installation.registry.withdraw(MODEL, actor="test", reason="obsolete")
    restarted = installation.app(mlflow_tracking_uri=DEAD_MLFLOW)
    with running(restarted) as client:
        wait_for(lambda: client.get("/health").status_code == 200)
        assert ask(client).status_code == 503
        assert restarted.state.service.models.production() == {}
    again = installation.app()
    with running(again) as client:
        wait_for(lambda: "promote one" in problem(again))
        assert ask(client, version=1).status_code == 200
        installation.registry.archive(MODEL, actor="test", reason="obsolete")
        wait_for(lambda: problem(again) == "")
        refused = ask(client, version=1)
        assert refused.status_code == 503
        assert "it is archived" in refused.json()["error"]["message"]
        assert client.get("/health").json()["status"] == "ok"


def test_a_follower_that_is_woken_does_not_wait_for_its_interval(installation, running):
    installation.register(is_first=True)
    app = installation.app(alias_poll_interval=60)
    with running(app):
        wait_for(lambda: "promote one" in problem(app))
        installation.promote(1)
        app.state.service.follower.wake()
        wait_for(lambda: serving_version(app) == 1)


def test_following_goes_on_after_a_look_that_could_not_be_remembered(
    installation, running, monkeypatch
):
    installation.register(is_first=True)
    app = installation.app()
    cache, remembered = app.state.service.follower._cache, []

    def full_disk_at_first(aliases):
        remembered.append(aliases)
        if len(remembered) < 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "remember_aliases", full_disk_at_first)
    with running(app):
        wait_for(lambda: len(remembered) >= 3)
        installation.promote(1)
        wait_for(lambda: serving_version(app) == 1)


def test_a_corrupt_artifact_is_not_loaded_and_the_version_before_goes_on(
    installation, running, make, tmp_path, monkeypatch
):
    check = ArtifactCache.check

    def checked_then_damaged(self, *which):
        check(self, *which)
        stored.write_bytes(stored.read_bytes()[:-1] + b"x")

    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        post_history(client, make)
        before = set(Path(tmp_path / "mlartifacts").rglob("model.onnx"))
        installation.register(seed=2)
        (stored,) = set(Path(tmp_path / "mlartifacts").rglob("model.onnx")) - before
        monkeypatch.setattr(ArtifactCache, "check", checked_then_damaged)
        installation.promote(2)
        wait_for(lambda: "version 2" in problem(app))
        assert "it is not loaded; version 1 goes on serving" in problem(app)
        answer = ask(client)
        assert answer.status_code == 200
        assert answer.json()["model_version"] == 1
        assert installation.kinds().count("load_failed") == 1
        assert "ml_engine_load_failures_total" in client.get("/metrics").text
        refused = ask(client, version=2)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "digest_mismatch"


def test_without_mlflow_answers_go_on_and_a_restart_serves_what_was_served(
    installation, running, make
):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        post_history(client, make)
        expected = ask(client).json()["predictions"]
        wait_for(lambda: (installation.platform.cache_dir / "aliases.json").exists())
        app.state.service.follower._store.uri = DEAD_MLFLOW
        wait_for(lambda: app.state.service.follower.registry_status.is_reachable is False)
        started = time.monotonic()
        answer = ask(client)
        assert time.monotonic() - started < 2.0
        assert answer.json()["predictions"] == expected
        assert client.get("/health").status_code == 200
        assert client.get("/health").json()["dependencies"]["mlflow"]["ok"] is False

    restarted = installation.app(mlflow_tracking_uri=DEAD_MLFLOW)
    started = time.monotonic()
    with running(restarted) as client:
        wait_for(lambda: client.get("/health").status_code == 200)
        answer = ask(client)
        assert time.monotonic() - started < 2.0
        assert answer.json()["predictions"] == expected
        assert answer.json()["model_version"] == 1


def test_a_version_that_could_not_be_downloaded_is_loaded_once_mlflow_answers(
    installation, running
):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    store = app.state.service.follower._cache._store
    address, store.uri = store.uri, DEAD_MLFLOW
    with running(app):
        wait_for(lambda: "does not answer" in problem(app))
        store.uri = address
        wait_for(lambda: serving_version(app) == 1)
        wait_for(lambda: problem(app) == "")
    assert installation.kinds().count("load_failed") == 1


def test_while_the_store_of_files_is_away_the_version_is_tried_again(
    installation, running, monkeypatch
):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    monkeypatch.setattr(follower, "STORE_RETRY_SECONDS", 0.1)
    away = iter([ArtifactStoreUnavailableError("http://mlflow:5000", "HTTP 500")] * 3)
    fetch = app.state.service.follower._cache.fetch

    def fetch_later(model_id, number):
        if error := next(away, None):
            raise error
        return fetch(model_id, number)

    monkeypatch.setattr(app.state.service.follower._cache, "fetch", fetch_later)
    with running(app):
        wait_for(lambda: serving_version(app) == 1)
        assert problem(app) == ""
    assert installation.kinds().count("load_failed") == 1  # once, not at every try


def test_while_the_database_is_away_a_version_is_tried_again_and_the_thread_lives(
    installation, running, monkeypatch
):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    cache = app.state.service.follower._cache
    cache.remember_aliases({MODEL: {"production": 1}})
    away = sa.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection"))
    fetch, tries = cache.fetch, []

    def fetch_later(model_id, number):
        tries.append(number)
        if len(tries) <= 3:
            raise away
        return fetch(model_id, number)

    monkeypatch.setattr(cache, "fetch", fetch_later)
    with running(app):
        wait_for(lambda: serving_version(app) == 1)
        assert problem(app) == ""
    assert len(tries) > 3


def test_a_foreign_mlflow_is_not_followed_and_health_says_so(installation, running):
    installation.register(is_first=True)
    installation.promote(1)
    app = installation.app()
    store = app.state.service.follower._store
    with running(app) as client:
        wait_for(lambda: serving_version(app) == 1)
        mark = store.mark()
        store.set_mark("another", replace=True)
        wait_for(lambda: client.get("/health").json()["dependencies"]["mlflow"]["ok"] is False)
        health = client.get("/health").json()
        assert (health["status"], health["loaded"]) == ("degraded", {MODEL: 1})
        assert "are no pair" in health["dependencies"]["mlflow"]["detail"]
        store.set_mark(mark, replace=True)
        wait_for(lambda: client.get("/health").json()["status"] == "ok")


def test_a_model_that_is_only_staged_degrades_nothing(installation, running):
    installation.register(is_first=True)
    installation.registry.set_alias_staging(MODEL, 1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: "promote one" in problem(app))
        health = client.get("/health").json()
        assert (health["status"], health["problems"]) == ("ok", {})
        installation.register(FAILING, seed=2)
        installation.mlflow.set_registered_model_alias(MODEL, "production", "2")
        wait_for(lambda: "quality.dm_ewma" in problem(app))
        health = client.get("/health").json()
        assert (health["status"], health["problems"].keys()) == ("degraded", {MODEL})
        installation.mlflow.set_registered_model_alias(MODEL, "production", "1")
        wait_for(lambda: client.get("/health").json()["status"] == "ok")
