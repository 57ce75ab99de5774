"""Models made, described, trained and validated by HTTP; MLflow is away, which none of it needs."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.jobs import queue
from pipelines.parameters import OF_MAIN, RecipeParameters
from pipelines.recipes.acceptance import DECIDED_HERE
from registry import events, managed_models, version_rows
from serving.keys import Rights, make_key
from serving.model_bodies import HELP, Recipe
from tests.examples import make_contract, passing_record

MODEL = "volatility_forecast"
SAMPLE = {
    "model_id": "desk",
    "template": "volatility_forecast",
    "source": "sample",
    "symbols": "AAPL,MSFT",
    "parameters": {"rounds": 5},
}


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def key(app, database):
    """Make a key; return its headers."""

    def make(*scopes, **rights):
        made, text = make_key(database, Rights(scopes or ("read", "manage"), **rights), actor="t")
        app.state.service.security.keys.load()
        return {"authorization": f"Bearer {text}"}, made.id

    return make


@pytest.fixture
def manage(client, key):
    """Send a request with a key that may manage."""
    headers, _ = key()

    def send(method, url, body=None, **more):
        sent = {"json": body} if body is not None else {}
        return client.request(method, url, headers=headers | more, **sent)

    return send


@pytest.fixture
def version(database):
    """Version 1 of MODEL, recorded as a stage would have."""

    def record(number=1, model_id=MODEL, **changes):
        contract = make_contract(model_id=model_id, **changes)
        digests = {"native/model.ubj": "a", "onnx/model.onnx": "b"}
        made = version_rows.Version(
            *(model_id, number, "r" * 32, contract, digests, tuple(passing_record()), False),
            managed_models.datetime.now(managed_models.UTC),
        )
        version_rows.record(database, made)
        return made

    return record


def code(answer):
    return answer.json()["error"]["code"]


# Making ------------------------------------------------------------------------------------------


def test_a_model_is_there_at_once_and_its_training_is_a_job(client, key, database):
    headers, key_id = key()
    said = {"description": "five days", "owner": "risk", "tags": {"desk": "fx"}}
    answer = client.post("/models", json=SAMPLE | said, headers=headers)
    assert answer.status_code == 202
    job = queue.get(database, answer.json()["job_id"])
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert (job.entry_point, job.model_id, job.actor) == ("main", "desk", key_id)
    assert job.payload == {
        "model_name": "desk",
        "template": "volatility_forecast",
        "source": "sample",
        "symbols": "AAPL,MSFT",
        "parameters": '{"rounds": 5}',
    }
    (line,) = client.get("/models", headers=headers).json()["models"]
    assert (line["model_id"], line["n_versions"], line["template"]) == ("desk", 0, MODEL)
    assert (line["problem"], line["owner"]) == ("it has no version yet", "risk")
    facts = client.get("/models/desk", headers=headers).json()
    assert facts["recipe"] == dict(job.payload)
    assert (facts["versions"], facts["description"]) == ([], "five days")
    status = client.get("/models/desk/status", headers=headers).json()
    assert (status["state"], status["job"]["job_id"]) == ("no_version", job.id)
    made = [event for event in events.read(database, "desk") if event.kind == "model_created"]
    assert [event.actor for event in made] == [key_id]


def test_the_same_request_again_is_the_same_job_and_another_is_refused(manage, database):
    once = {"Idempotency-Key": "k1"}
    first = manage("POST", "/models", SAMPLE, **once)
    again = manage("POST", "/models", SAMPLE, **once)
    assert first.json() == again.json()
    assert again.status_code == 202
    other = manage("POST", "/models", SAMPLE | {"model_id": "other"}, **once)
    assert (other.status_code, code(other)) == (409, "idempotency_conflict")
    taken = manage("POST", "/models", SAMPLE)
    assert (taken.status_code, code(taken)) == (409, "model_exists")
    assert list(managed_models.list_models(database)) == ["desk"]
    assert len(queue.list_jobs(database)) == 1


@pytest.mark.parametrize(("headers", "statuses"), [({"Idempotency-Key": "k"}, 202), ({}, 409)])
def test_of_two_requests_at_once_one_makes_the_model(manage, database, headers, statuses):
    barrier = threading.Barrier(2)

    def post(_):
        barrier.wait()
        return manage("POST", "/models", SAMPLE, **headers)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(post, range(2)))
    assert sorted(answer.status_code for answer in answers) == [202, statuses]
    assert len(queue.list_jobs(database)) == 1
    assert [e.kind for e in events.read(database, "desk")].count("model_created") == 1


def test_a_name_that_a_stage_used_is_taken(manage, version, database):
    version()
    answer = manage("POST", "/models", SAMPLE | {"model_id": MODEL})
    assert (answer.status_code, code(answer)) == (409, "model_exists")
    assert queue.list_jobs(database) == []


@pytest.mark.parametrize(
    "change",
    [
        {"template": "no_such"},
        {"template": None},
        {"architecture": "no_such"},
        {"feature_set": "no_such"},
        {"parameters": {"no_such": 1}},
        {"parameters": {"rounds": "many"}},
        {"parameters": "rounds"},
        {"options": {"no_such": 1}},
        {"source": "files", "path": "/etc/passwd"},
        {"path": "../x"},
        {"source": "data", "path": "absent"},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"seed": 10**400},
        {"window": "3"},
        {"start": "yesterday"},
        {"symbols": "A\0B"},
        {"symbols": "--promote=true"},
        {"flavors": "tensorrt"},
        {"promote": True},
        {"champion": 1},
        {"model_name": "x"},
        {"out": "/tmp/x"},
        {"model_id": "../x"},
        {"model_id": "a b"},
        {"model_id": "a#b"},
        {"model_id": ""},
        {"model_id": "a" * 201},
        {"model_id": "é"},
        {"owner": "a\0b"},
        {"owner": "\ud800"},
        {"owner": 3},
        {"description": "x" * 5001},
        {"tags": {str(n): "" for n in range(51)}},
        {"tags": {"a": 1}},
        {"tags": {"a\0": "b"}},
        {"tags": None},
    ],
    ids=lambda change: str(change)[:50],
)
def test_what_cannot_become_a_model_is_refused_at_once(client, key, database, change):
    headers = {"content-type": "application/json"} | key()[0]
    content = json.dumps(SAMPLE | change)  # in ASCII: it may hold half of a surrogate pair
    answer = client.post("/models", content=content, headers=headers)
    assert answer.status_code in (404, 422), answer.text
    assert queue.list_jobs(database) == []
    assert managed_models.list_models(database) == {}


def test_a_key_makes_and_sees_only_its_models(client, key, database):
    mine, _ = key(model_ids=("desk",))
    assert client.post("/models", json=SAMPLE, headers=mine).status_code == 202
    other = client.post("/models", json=SAMPLE | {"model_id": "other"}, headers=mine)
    assert other.status_code == 403
    with database.begin() as connection:
        said = managed_models.Description()
        managed_models.create_in(connection, "other", said, {}, actor="x")
    shown = client.get("/models", headers=mine).json()["models"]
    assert [line["model_id"] for line in shown] == ["desk"]
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/train")):
        answer = client.request(method, f"/models/other{path}", headers=mine, json={"seed": 1})
        assert answer.status_code == 403
    reading, _ = key("read")
    for method, path in (("POST", ""), ("PUT", "/desk"), ("DELETE", "/desk")):
        answer = client.request(method, f"/models{path}", headers=reading, json=SAMPLE)
        assert answer.status_code == 403


def test_every_parameter_that_a_caller_may_choose_is_a_field():
    assert set(Recipe.model_fields) == set(HELP) - {*DECIDED_HERE, "model_name"}
    assert OF_MAIN[1] is RecipeParameters


def test_a_model_whose_first_training_failed_has_no_versions_and_its_recipe_is_mended(
    manage, database
):
    manage("POST", "/models", SAMPLE)
    assert manage("GET", "/models/desk/versions").json()["versions"] == []
    for method, path, body in (
        ("GET", "/versions/1", None),
        ("POST", "/deploy", {"version": 1, "reason": "x"}),
        ("POST", "/validate", {"version": 1}),
    ):
        answer = manage(method, f"/models/desk{path}", body)
        assert (answer.status_code, code(answer)) == (404, "version_not_found"), path
    mended = manage("PUT", "/models/desk", {"recipe": {"symbols": "AAPL", "seed": 2}})
    assert mended.json()["recipe"]["symbols"] == "AAPL"
    assert mended.json()["recipe"]["source"] == "sample"
    payload = queue.get(database, manage("POST", "/models/desk/train", {}).json()["job_id"]).payload
    assert (payload["symbols"], payload["seed"], payload["model_name"]) == ("AAPL", 2, "desk")
    event = [e for e in events.read(database, "desk") if e.kind == "model_recipe_changed"][-1]
    assert (event.facts["before"]["symbols"], event.facts["recipe"]["symbols"]) == (
        "AAPL,MSFT",
        "AAPL",
    )
    for bad in ({"source": "files", "path": "/etc/passwd"}, {"architecture": "x"}, {"promote": 1}):
        assert manage("PUT", "/models/desk", {"recipe": bad}).status_code == 422
    assert managed_models.find(database, "desk").recipe == mended.json()["recipe"]


# What is said ------------------------------------------------------------------------------------


def test_what_is_said_of_a_model_that_a_stage_made_is_kept(manage, version, database):
    version()
    changes = {"description": "d", "owner": "o", "tags": {"a": "b"}, "watched": False}
    for _ in range(2):
        answer = manage("PUT", f"/models/{MODEL}", changes)
        assert answer.status_code == 200
    assert {name: answer.json()[name] for name in changes} == changes
    assert manage("PUT", f"/models/{MODEL}", {"owner": "p"}).json()["description"] == "d"
    assert [event.kind for event in events.read(database, MODEL)].count("model_described") == 2
    assert manage("GET", f"/models/{MODEL}/status").json()["watched"] is False


@pytest.mark.parametrize("body", [{}, {"owner": None, "x": 1}, {"watched": "no"}, {"archived": 1}])
def test_a_change_of_nothing_or_of_another_type_is_refused(manage, version, body):
    version()
    assert manage("PUT", f"/models/{MODEL}", body).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"owner": "x"}),
        ("DELETE", "", None),
        ("GET", "/status", None),
        ("GET", "/versions", None),
        ("GET", "/versions/1", None),
        ("DELETE", "/versions/1?reason=x", None),
        ("GET", "/events", None),
        ("GET", "/production", None),
        ("POST", "/train", {}),
        ("POST", "/validate", {"version": 1}),
        ("POST", "/deploy", {"version": 1, "reason": "x"}),
        ("POST", "/rollback", {"reason": "x"}),
        ("POST", "/withdraw", {"reason": "x"}),
    ],
)
def test_an_unknown_model_is_404_everywhere_and_nothing_is_written(
    manage, database, method, path, body
):
    answer = manage(method, f"/models/no_such{path}", body)
    assert (answer.status_code, code(answer)) == (404, "model_not_found")
    assert managed_models.list_models(database) == {}
    assert events.read(database, "no_such") == []


@pytest.mark.parametrize("name", ["%2e%2e", "a%00b", "a%20b", "a%2Fb", "%23", "a" * 201])
def test_a_name_that_no_model_can_have_is_refused(manage, name):
    assert manage("GET", f"/models/{name}").status_code in (404, 422)
    assert manage("PUT", f"/models/{name}", {"owner": "x"}).status_code in (404, 405, 422)


def test_without_mlflow_no_alias_moves_and_the_answer_says_so(manage, version, database):
    version()
    for method, path, body in (
        ("DELETE", "", None),
        ("PUT", "", {"archived": True}),
        ("POST", "/deploy", {"version": 1, "reason": "x"}),
        ("POST", "/rollback", {"reason": "x"}),
        ("POST", "/withdraw", {"reason": "x"}),
        ("DELETE", "/versions/1?reason=x", None),
    ):
        answer = manage(method, f"/models/{MODEL}{path}", body)
        assert (answer.status_code, code(answer)) == (503, "registry_unavailable"), path
        assert "retry-after" in answer.headers
    assert managed_models.archived(database) == frozenset()
    assert [event.kind for event in events.read(database, MODEL)] == ["registered"]


# Training and validating -------------------------------------------------------------------------


def test_a_created_model_is_trained_by_its_own_recipe_with_what_differs(manage, database):
    manage("POST", "/models", SAMPLE)
    answer = manage("POST", "/models/desk/train", {"end": "2006-12-31", "seed": 4})
    assert answer.status_code == 202
    payload = queue.get(database, answer.json()["job_id"]).payload
    assert (payload["end"], payload["seed"], payload["symbols"]) == ("2006-12-31", 4, "AAPL,MSFT")
    assert (payload["champion"], payload["trigger"], payload["model_name"]) == (0, "", "desk")
    assert "promote" not in payload
    assert manage("POST", "/models/desk/train", {"template": "no_such"}).status_code == 422


def test_a_model_of_a_stage_is_trained_by_the_recipe_of_its_newest_version(
    manage, version, database
):
    version()
    version(2, seed=9, recent_bars=500, options={}, parameters={"max_depth": 4})
    answer = manage("POST", f"/models/{MODEL}/train", {})
    assert answer.status_code == 202, answer.text
    payload = queue.get(database, answer.json()["job_id"]).payload
    assert (payload["seed"], payload["recent_bars"]) == (9, 500)
    assert (payload["source"], payload["model_name"]) == ("sample", MODEL)


def test_a_file_that_a_stage_read_is_read_again_but_no_other(manage, version, database):
    data = make_contract().data
    read = {"source": "files", "parameters": {"path": "/srv/bars.csv", "timezone": "UTC"}}
    version(data=type(data)(**{n: getattr(data, n) for n in data.__slots__} | read))
    answer = manage("POST", f"/models/{MODEL}/train", {"seed": 1})
    assert answer.status_code == 202, answer.text
    assert queue.get(database, answer.json()["job_id"]).payload["path"] == "/srv/bars.csv"
    assert manage("POST", f"/models/{MODEL}/train", {"path": "/etc/passwd"}).status_code == 422


def test_a_version_to_compare_with_must_exist(manage, version, database):
    version()
    assert manage("POST", f"/models/{MODEL}/train", {"champion": 9}).status_code == 404
    for body in ({"version": 9}, {"version": 1, "champion": 9}):
        assert manage("POST", f"/models/{MODEL}/validate", body).status_code == 404
    assert queue.list_jobs(database) == []


def test_a_version_is_validated_again_as_a_job(manage, version, database):
    version()
    version(2)
    body = {"version": 2, "champion": 1, "challenge_bars": 60, "read_from": "store"}
    answer = manage("POST", f"/models/{MODEL}/validate", body)
    assert answer.status_code == 202
    job = queue.get(database, answer.json()["job_id"])
    assert (job.entry_point, job.is_short) == ("validate", False)
    assert job.payload == {
        "model_name": MODEL,
        "version": 2,
        "champion": 1,
        "trigger": "",
        "read_from": "store",
        "challenge_bars": 60,
    }
    for bad in ({}, {"version": 0}, {"version": "1"}, {"version": 1, "read_from": "/etc"}):
        assert manage("POST", f"/models/{MODEL}/validate", bad).status_code == 422


def test_an_archived_model_is_hidden_not_trained_and_comes_back(manage, version, database):
    version()
    managed_models.archive(database, MODEL, {}, actor="x")
    assert manage("GET", "/models").json()["models"] == []
    (line,) = manage("GET", "/models?archived=true").json()["models"]
    assert line["problem"] == "it is archived"
    assert line["archived_at"] is not None
    for path, body in (("train", {}), ("validate", {"version": 1})):
        answer = manage("POST", f"/models/{MODEL}/{path}", body)
        assert (answer.status_code, code(answer)) == (409, "model_archived")
    assert manage("GET", f"/models/{MODEL}/status").json()["state"] == "archived"
    answer = manage("PUT", f"/models/{MODEL}", {"archived": False})
    assert (answer.status_code, answer.json()["archived_at"]) == (200, None)
    assert len(manage("GET", "/models").json()["models"]) == 1


def test_a_model_with_neither_recipe_nor_version_says_what_to_do(manage, database):
    managed_models.describe(database, "empty", {"owner": "x"}, actor="x")
    answer = manage("POST", "/models/empty/train", {})
    assert (answer.status_code, code(answer)) == (409, "nothing_to_train")


# Versions and events -----------------------------------------------------------------------------


def test_a_version_shows_contract_artifacts_parity_gates_and_links(manage, version):
    version()
    shown = manage("GET", f"/models/{MODEL}/versions/1").json()
    onnx = next(a for a in shown["artifacts"] if a["artifact"] == "onnx.fp32")
    assert onnx["files"] == {"onnx/model.onnx": "b"}
    assert [row["gate"] for row in onnx["parity"]] == ["parity.onnx.fp32"]
    assert shown["contract"]["template"] == MODEL
    assert (shown["serve_refusals"], shown["may_trade"]) == ([], False)
    assert shown["links"]["version"] == "http://127.0.0.1:9/#/models/volatility_forecast/versions/1"
    assert shown["links"]["run"] == f"http://127.0.0.1:9/#/runs/{'r' * 32}"
    assert shown["links"]["report"].endswith(f"path=report.html&run_id={'r' * 32}")
    (line,) = manage("GET", f"/models/{MODEL}/versions").json()["versions"]
    assert (line["version"], line["n_validations"]) == (1, 0)
    for number in ("0", "-1", "x", "1.5", "9" * 30):
        answer = manage("GET", f"/models/{MODEL}/versions/{number}")
        assert answer.status_code == 422, number
    assert manage("GET", f"/models/{MODEL}/versions/2").status_code == 404


def test_a_password_of_mlflow_is_in_no_link(app, manage, version):
    version()
    uri = "https://user:secret@mlflow.example/ml"
    platform = app.state.service.platform.model_copy(update={"mlflow_tracking_uri": uri})
    object.__setattr__(app.state.service, "platform", platform)
    links = manage("GET", f"/models/{MODEL}/versions/1").json()["links"]
    assert links["version"].startswith("https://mlflow.example/ml/#/models/")


def test_events_come_in_pages_from_either_end(manage, database):
    for number in range(5):
        managed_models.describe(database, MODEL, {"owner": str(number)}, actor="x")
    address = f"/models/{MODEL}/events?limit=2"

    def owners(page):
        return [event["facts"]["changed"]["owner"][1] for event in page["events"]]

    first = manage("GET", address).json()
    second = manage("GET", f"{address}&after_id={first['next_after_id']}").json()
    third = manage("GET", f"{address}&after_id={second['next_after_id']}").json()
    assert [owners(page) for page in (first, second, third)] == [["0", "1"], ["2", "3"], ["4"]]
    assert third["next_after_id"] is None
    newest = manage("GET", f"{address}&order=newest").json()
    older = manage("GET", f"{address}&order=newest&after_id={newest['next_after_id']}").json()
    assert [owners(page) for page in (newest, older)] == [["4", "3"], ["2", "1"]]
    for bad in ("limit=0", "limit=1001", "limit=x", "after_id=-1", "after_id=9" * 30, "order=x"):
        assert manage("GET", f"/models/{MODEL}/events?{bad}").status_code == 422


@pytest.mark.parametrize(
    "at", ["yesterday", "2026-01-01", "2199-01-01T00:00:00Z", "NaN", "1", "1e9"]
)
def test_a_time_that_cannot_be_looked_up_is_refused(manage, version, at):
    version()
    assert manage("GET", f"/models/{MODEL}/production?at={at}").status_code == 422
