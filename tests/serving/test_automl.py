"""/automl and /hyperopt: what becomes a job, what is refused before, and what jobs tell of it."""

import json
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from pipelines.jobs import leases, queue
from pipelines.jobs.job import Told
from pipelines.tuning.leaderboard import SCHEMA
from registry import tables
from serving import event_streams
from serving.keys import Rights, make_key
from serving.search_answers import TrialLine

RUN = "a" * 32
SMALL = {"template": "return_forecast", "study": "s", "trials": 8}
LINE = {"trial": 3, "state": "complete", "score": 0.98, "architecture": "ridge", "folds": 5}
SO_FAR = {
    "study": "s",
    "study_run_id": RUN,
    "metric": "rmse",
    "higher_is_better": False,
    "n_trials": 8,
    "n_ended": 5,
    "n_pruned": 1,
    "n_failed": 1,
    "best": LINE,
}
SKILL = {"gain": 0.02, "lower": 0.01, "upper": 0.03, "z": 5.0, "n_times": 300}
HURDLE = {"value": 5.0, "limit": 3.1, "n": 9, "note": "z", "passed": True}
OUTCOME = {
    "found": True,
    "reason": "significant among all trials, and on the untouched period",
    "n_ended": 8,
    "place": 2,
    "recipe": {"architecture": "ridge"},
    "bias": {"n_trials": 9, "pbo": None},
    "search_score": 0.98,
    "untouched_score": 0.99,
    "optimism": 0.01,
    "search": SKILL,
    "untouched": SKILL,
    "of_search": HURDLE,
    "of_untouched": HURDLE,
    "leaderboard": [LINE | {"rank": 1, "limit": 3.1}],
}
ENDED = SO_FAR | {"n_ended": 8, "outcome": OUTCOME}
LUCK = ENDED | {"outcome": OUTCOME | {"found": False, "reason": "1.2 is below 3.1 (z)"}}


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def client(client, app, database):
    """Sends a key that may manage and read."""
    _, text = make_key(database, Rights(("manage", "read")), actor="test")
    app.state.service.security.keys.load()
    client._http.headers["authorization"] = f"Bearer {text}"
    return client


@pytest.fixture
def start(client):
    def send(body=None, path="/automl/start", **headers):
        return client.post(path, json=SMALL if body is None else body, headers=headers)

    return send


@pytest.fixture
def claimed(start, database):
    """A search that a worker has begun."""
    assert start().status_code == 202
    return leases.claim(database, "host:1")


def told(database, job, facts, **changes):
    leases.heartbeat(database, job, Told("search: trial 6 of 8", 0.5, "", RUN, facts), **changes)


def end(database, job, facts):
    return leases.finish(database, job, {"run_id": RUN, "status": "FINISHED", "told": facts})


# Starting ----------------------------------------------------------------------------------------


def test_a_search_is_a_job_of_the_stage_tune(start, database):
    answer = start({**SMALL, "space": {"architectures": ["ridge"]}})
    assert answer.status_code == 202
    found = answer.json()
    job = queue.get(database, found["job_id"])
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert (job.entry_point, job.model_id) == ("tune", "return_forecast")
    assert job.payload == {
        "template": "return_forecast",
        "model_name": "return_forecast",
        "study": "s",
        "trials": 8,
        "space": '{"architectures": ["ridge"]}',
    }
    assert (found["study"], found["workers"], found["ignored"]) == ("s", [job.id], [])


def test_a_study_without_a_name_has_that_of_what_is_asked(start):
    names = {
        start({"template": t}).json()["study"]
        for t in ("return_forecast", "return_forecast", "anomaly")
    }
    assert sorted(name.partition("-")[0] for name in names) == ["anomaly", "return_forecast"]


def test_the_same_key_and_request_get_the_same_search_and_its_workers(start, database):
    body = {**SMALL, "workers": 3}
    first, again = (start(body, **{"Idempotency-Key": "one"}).json() for _ in range(2))
    assert first == again
    jobs = queue.list_jobs(database)
    assert {job.id for job in jobs} == set(first["workers"]) and len(jobs) == 3
    assert len({json.dumps(job.payload, sort_keys=True) for job in jobs}) == 1


def test_the_workers_of_a_search_run_side_by_side_but_no_training_beside_them(start, database):
    start({**SMALL, "workers": 2})
    queue.enqueue(database, "main", {}, model_id="return_forecast", priority=9)
    assert leases.claim(database, "host:0").entry_point == "main"
    assert leases.claim(database, "host:1") is None
    with database.begin() as connection:
        connection.execute(
            sa.update(tables.jobs).where(tables.jobs.c.kind == "main").values(state="done")
        )
    assert [leases.claim(database, f"host:{n}").entry_point for n in (1, 2)] == ["tune", "tune"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"metric": "alpha"}, 422, "metric: expected one of rmse, mae"),
        ({"template": "nothing"}, 422, "template"),
        ({"space": {"architectures": ["oracle"]}}, 422, "unknown architecture"),
        ({"space": {"architectures": ["hmm"]}}, 422, "space.architectures: expected some of ridge"),
        ({"space": {"architectures": []}}, 422, "space.architectures: expected at least one value"),
        ({"space": {"horizons": [1, "5"]}}, 422, "space.horizons: expected values of one type"),
        ({"space": {"nothing": [1]}}, 422, "space: expected one of architectures"),
        ({"space": [1]}, 422, "space"),
        (
            {"architecture": "ridge", "space": {"architectures": ["lasso"]}},
            422,
            "architectures in the space or",
        ),
        (
            {"space": {"parameters": {"ridge": {"alpha": {"low": 2, "high": 1}}}}},
            422,
            "low at or below high",
        ),
        ({"trials": 0}, 422, "trials: expected 1 to 1,000"),
        ({"trials": 1001}, 422, "trials: expected 1 to 1,000"),
        ({"trials": "many"}, 422, "trials"),
        ({"workers": 0}, 422, "workers"),
        ({"study": "../../etc"}, 422, "study: expected 1 to 200 letters"),
        ({"sampler": "magic"}, 422, "sampler: expected one of tpe"),
        ({"untouched_percent": 0}, 422, "untouched_percent"),
        ({"deploy": True}, 422, "deploy: unknown field"),
        ({"source": "files", "path": "/etc/passwd"}, 422, "source: expected one of"),
        ({"source": "data", "path": "nothing"}, 404, "nothing"),
        ({"splits": "/etc/passwd"}, 422, "splits: expected a JSON list"),
        ({"latency_ms": -1}, 422, "latency_ms"),
        ({"metric": "rmse,alpha"}, 422, "metric: expected"),
        (
            {"template": "sentiment", "space": {"architectures": ["pretrained_text"]}},
            422,
            "opens a folder of the server",
        ),
        ({"metric": "rmse", "validation_metric": "mae"}, 422, "validation_metric or metric"),
        ({"search_space": {}, "space": {}}, 422, "search_space or space, not both"),
        ({"search_space": {"model_types": []}}, 422, "search_space.model_types"),
        ({"search_space": {"model_types": ["oracle"]}}, 422, "unknown architecture"),
        ({"search_space": {"features": "price"}}, 422, "search_space.features"),
        ({"search_space": {"hyperparameters": {"dropout": []}}}, 422, "at least one value"),
        ({"search_space": {"hyperparameters": {"alpha": [1, "2"]}}}, 422, "values of one type"),
        ({"search_space": {"hyperparameters": [1]}}, 422, "an object of names"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_it_is_a_job(start, database, body, status, text):
    answer = start({**SMALL, **body})
    assert (answer.status_code, text in answer.json()["error"]["message"]) == (status, True), (
        answer.text
    )
    assert queue.list_jobs(database) == []


def test_a_grid_of_a_billion_points_is_refused_with_its_size(start, database):
    names = ("eta", "subsample", "colsample_bytree")
    ranges = {name: {"low": 0.1, "high": 1, "points": 1000} for name in names}
    space = {"architectures": ["xgboost"], "parameters": {"xgboost": ranges}}
    answer = start({**SMALL, "sampler": "grid", "space": space})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "grid_too_large")
    assert "a grid of 1,000,000,000 points, of at most 1,000" in error["message"]
    assert error["details"] == {"n_points": 10**9, "most": 1000}
    assert queue.list_jobs(database) == []


def test_a_study_that_searches_something_else_is_refused(start, claimed, database):
    told(database, claimed, SO_FAR)
    answer = start({**SMALL, "sampler": "random"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "study_conflict")
    assert start({**SMALL, "trials": 100}).status_code == 202


def test_a_key_of_one_model_neither_starts_nor_sees_searches_of_another(
    start, client, app, database
):
    _, text = make_key(database, Rights(("manage", "read"), model_ids=("desk",)), actor="test")
    app.state.service.security.keys.load()
    bearer = {"Authorization": f"Bearer {text}"}
    assert start(**bearer).status_code == 403
    assert start({**SMALL, "model_id": "desk"}, **bearer).status_code == 202
    theirs = queue.enqueue(database, "tune", {"study": "s"}, model_id="return_forecast")
    for path in ("/automl/status/", "/automl/results/", "/hyperopt/progress/"):
        assert client.get(path + theirs.id, headers=bearer).status_code == 403


# The earlier form --------------------------------------------------------------------------------


def test_the_earlier_form_is_taken_and_what_has_no_effect_is_said(start, database):
    body = {
        "search_space": {
            "model_types": ["xgboost", "lstm", "neural_network", "ridge"],
            "features": ["price", "volume", "technical", "sentiment"],
            "hyperparameters": {
                "learning_rate": [0.001, 0.01],
                "hidden_layers": [1, 2, 64],
                "dropout": [0.1, 0.2],
            },
            "n_jobs": 4,
        },
        "validation_metric": "sharpe_ratio",
        "hardware": "neural_engine",
        "target_hardware": "neural_engine",
        "max_trials": 1000,
    }
    answer = start(body)
    assert answer.status_code == 202, answer.text
    payload = queue.get(database, answer.json()["job_id"]).payload
    assert (payload["template"], payload["metric"], payload["trials"]) == (
        "trading_signals",
        "sharpe_ratio",
        1000,
    )
    assert json.loads(payload["space"]) == {
        "architectures": ["xgboost", "lstm", "mlp"],
        "feature_sets": ["close_only", "ohlcv"],
        "parameters": {
            "xgboost": {"eta": [0.001, 0.01]},
            "lstm": {"learning_rate": [0.001, 0.01], "layers": [1, 2]},
            "mlp": {"learning_rate": [0.001, 0.01], "layers": [1, 2], "dropout": [0.1, 0.2]},
        },
    }
    where = "search_space.hyperparameters"
    assert answer.json()["ignored"] == [
        "hardware (a search runs where its worker does)",
        "target_hardware (a version carries an artifact for every kind of hardware that it fits)",
        "search_space.n_jobs",
        "search_space.model_types.ridge (not of trading_signals)",
        "search_space.features.sentiment (no feature set holds it)",
        f"{where}.hidden_layers (no parameter of xgboost)",
        f"{where}.hidden_layers[2] (not valid for lstm)",
        f"{where}.hidden_layers[2] (not valid for mlp)",
        f"{where}.dropout (no parameter of xgboost)",
        f"{where}.dropout (no parameter of lstm)",
    ]


# One architecture --------------------------------------------------------------------------------


def test_the_parameters_of_one_architecture_are_searched(start, database):
    alpha = {"alpha": {"low": 0.01, "high": 1.0, "scale": "log"}}
    body = {**SMALL, "architecture": "ridge", "hyperparameters": alpha}
    answer = start(body, "/hyperopt/start")
    assert answer.status_code == 202, answer.text
    payload = queue.get(database, answer.json()["job_id"]).payload
    assert payload["architecture"] == "ridge"
    assert json.loads(payload["space"]) == {"parameters": {"ridge": alpha}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "architecture: expected the one to search"),
        ({"space": {"architectures": ["ridge", "lasso"]}}, "expected the one to search"),
        ({"architecture": "oracle"}, "unknown architecture"),
        ({"architecture": "ridge", "hyperparameters": {"eta": [1]}}, "space.parameters.ridge"),
        (
            {
                "architecture": "ridge",
                "hyperparameters": {"alpha": [1]},
                "space": {"parameters": {"ridge": {"alpha": [2]}}},
            },
            "not both",
        ),
    ],
)
def test_it_must_be_one_architecture_and_its_own_parameters(start, database, body, text):
    answer = start({**SMALL, **body}, "/hyperopt/start")
    assert (answer.status_code, text in answer.json()["error"]["message"]) == (422, True), (
        answer.text
    )
    assert queue.list_jobs(database) == []


# How far it is -----------------------------------------------------------------------------------


def test_a_search_that_waits_has_done_nothing(start, client):
    job_id = start().json()["job_id"]
    found = client.get(f"/automl/status/{job_id}").json()
    assert (found["state"], found["n_trials"], found["n_ended"], found["best"]) == (
        "queued",
        8,
        0,
        None,
    )
    assert client.get(f"/automl/results/{job_id}").json()["found"] is None


def test_status_and_progress_say_trials_done_best_so_far_and_time_left(client, claimed, database):
    told(database, claimed, SO_FAR)
    a_minute_ago = datetime.now(UTC).timestamp() - 60
    with database.begin() as connection:
        started_at = datetime.fromtimestamp(a_minute_ago, UTC)
        connection.execute(sa.update(tables.jobs).values(started_at=started_at))
    for path in ("/automl/status/", "/hyperopt/progress/"):
        found = client.get(path + claimed.id).json()
        assert (found["n_ended"], found["n_trials"], found["n_pruned"]) == (5, 8, 1)
        assert found["best"]["score"] == 0.98 and found["best"]["trial"] == 3
        assert found["eta_seconds"] == pytest.approx(60, abs=10)  # half of it in a minute


def test_progress_is_followed_until_the_search_has_ended(client, claimed, database, monkeypatch):
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.01)
    told(database, claimed, SO_FAR)
    end(database, claimed, ENDED)
    answer = client.get(f"/hyperopt/progress/{claimed.id}", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    fields = dict(line.split(": ", 1) for line in answer.text.strip().splitlines())
    assert fields["event"] == "search" and json.loads(fields["data"])["n_ended"] == 8
    seen = {"Accept": "text/event-stream", "Last-Event-ID": fields["id"]}
    assert client.get(f"/hyperopt/progress/{claimed.id}", headers=seen).status_code == 204


def test_a_job_that_ends_while_others_go_on_leaves_the_search_open(client, start, database):
    first = start({**SMALL, "workers": 2}).json()["job_id"]
    jobs = [leases.claim(database, f"host:{n}") for n in (1, 2)]
    own = next(job for job in jobs if job.id == first)
    other = next(job for job in jobs if job.id != first)
    end(database, own, SO_FAR)
    told(database, other, SO_FAR | {"n_ended": 7})
    found = client.get(f"/automl/status/{first}").json()
    assert (found["state"], found["n_ended"]) == ("leased", 7)
    assert [line["state"] for line in found["workers"]] == ["done", "leased"]
    assert client.post(f"/automl/deploy/{first}").status_code == 409
    end(database, other, ENDED)
    found = client.get(f"/automl/results/{first}").json()
    assert (found["state"], found["found"], found["n_ended"]) == ("done", True, 8)


def test_what_was_told_stays_after_a_cancellation(client, claimed, database):
    told(database, claimed, SO_FAR)
    client.post(f"/jobs/{claimed.id}/cancel")
    found = client.get(f"/automl/results/{claimed.id}").json()
    assert (found["state"], found["n_ended"], found["found"]) == ("cancelled", 5, None)


# Results and deploying ---------------------------------------------------------------------------


def test_results_are_the_outcome_and_the_leaderboard(client, claimed, database):
    end(database, claimed, ENDED)
    found = client.get(f"/automl/results/{claimed.id}").json()
    assert found["found"] is True and found["reason"] == OUTCOME["reason"]
    assert (found["search_score"], found["untouched_score"], found["optimism"]) == (
        0.98,
        0.99,
        0.01,
    )
    assert found["of_search"] == HURDLE and found["search"]["lower"] == 0.01
    assert found["leaderboard"][0]["rank"] == 1 and found["bias"]["pbo"] is None
    assert found["pages"] == {"study": f"http://127.0.0.1:9/#/runs/{RUN}"}
    assert found["version"] is None


def test_a_line_of_the_leaderboard_has_every_column():
    assert set(SCHEMA) <= set(TrialLine.model_fields)


def test_the_winner_becomes_a_version_by_a_job_of_the_same_study(client, claimed, database):
    end(database, claimed, ENDED)
    body = {"flavors": "onnx", "production_ready": True, "target_hardware": "cpu"}
    answer = client.post(f"/automl/deploy/{claimed.id}", json=body)
    assert answer.status_code == 202, answer.text
    job = queue.get(database, answer.json()["job_id"])
    assert job.payload == {**claimed.payload, "deploy": True, "promote": True, "flavors": "onnx"}
    assert [said.partition(" ")[0] for said in answer.json()["ignored"]] == ["target_hardware"]
    end(database, leases.claim(database, "w"), {"study": "s", "outcome": OUTCOME | {"version": 4}})
    assert client.get(f"/automl/results/{claimed.id}").json()["version"] == 4


@pytest.mark.parametrize(
    ("facts", "code", "text"),
    [
        (None, "search_not_ended", "is leased"),
        (LUCK, "nothing_found", "1.2 is below 3.1"),
    ],
)
def test_what_goes_on_or_found_nothing_is_not_deployed(
    client, claimed, database, facts, code, text
):
    if facts:
        end(database, claimed, facts)
    answer = client.post(f"/automl/deploy/{claimed.id}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], text in error["message"]) == (409, code, True)
    assert len(queue.list_jobs(database)) == 1


def test_a_search_that_failed_says_why_and_is_not_deployed(client, claimed, database):
    with database.begin() as connection:
        connection.execute(sa.update(tables.jobs).values(max_attempts=1))
    held = queue.get(database, claimed.id)
    leases.fail(database, held, "all 8 trials of study 's' failed: 8 times: x", RUN, SO_FAR)
    found = client.get(f"/automl/results/{claimed.id}").json()
    assert found["state"] == "failed" and "8 times: x" in found["error"] and found["n_failed"] == 1
    assert client.post(f"/automl/deploy/{claimed.id}").json()["error"]["code"] == "search_not_ended"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/automl/status/"),
        ("GET", "/automl/results/"),
        ("POST", "/automl/deploy/"),
        ("GET", "/hyperopt/progress/"),
    ],
)
def test_a_job_that_is_unknown_or_no_search_is_not_found(client, database, method, path):
    answer = client.request(method, path + "f" * 32)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")
    other = queue.enqueue(database, "main", {})
    answer = client.request(method, path + other.id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_a_search")
    assert "is no search but main" in answer.json()["error"]["message"]
