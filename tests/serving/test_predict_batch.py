"""POST /predict/batch: answers like those of /predict, in three formats, and jobs above a size."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import score as stage
from pipelines.data.results import ResultFolder
from pipelines.jobs import leases, queue
from pipelines.recipes.scored_rows import kept_frame, of_body, of_entries
from pipelines.recipes.scoring import load_answerer
from serving.keys import Rights, make_key
from serving.loading import load
from tests.small_versions import EVERY, small_version

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
NUMBERS = "tabular-numbers"
SIGNALS = "trading_signals-closes"


@pytest.fixture(scope="session")
def smalls(tmp_path_factory):
    """A small version of every template: model id -> version."""
    found = {}
    for name, variant in EVERY:
        model_id = f"{name}-{variant}"
        found[model_id] = small_version(tmp_path_factory.mktemp(model_id), name, variant)
    return found


@pytest.fixture(scope="session")
def loaded_smalls(smalls):
    found = {}
    for model_id, small in smalls.items():
        *_, version = load(small.files, model_id, 1, is_measured=False)
        found[model_id] = replace(version, model_id=model_id)
    return found


@pytest.fixture
def world(app, running, loaded_smalls):
    """A running application that serves the small versions."""
    with running(app) as client:
        models = app.state.service.models
        models.learn({model_id: {"production": 1} for model_id in loaded_smalls})
        for version in loaded_smalls.values():
            models.serve(version)
        yield client


def set_limit(client, name, value):
    """Change a setting of a running application."""
    service = client.app.state.service
    changed = service.settings.model_copy(update={name: value})
    object.__setattr__(service, "settings", changed)
    object.__setattr__(service.batches, "settings", changed)


# The same answers as /predict -------------------------------------------------------------------


def rows_of(small):
    """Forty questions to a version, as JSON has them: field of the request, entries, context."""
    kind = small.contract.template
    n = 40
    if kind == "sentiment":
        words = ["profit", "loss", "the", "shares", "plunged", "rose", "impairment", "record"]
        rng = np.random.default_rng(5)
        return "texts", [" ".join(rng.choice(words, 6)) for _ in range(n)], {}
    if kind == "tabular":
        rng = np.random.default_rng(6)
        values = rng.standard_normal((n, 2)).tolist()
        values[3][0] = None
        return "rows", [dict(zip(("first", "second"), row, strict=True)) for row in values], {}
    context = {name: values[:n].tolist() for name, values in small.context.items()}
    return "rows", small.X[:n].astype(float).tolist(), context


def ask(client, small, model_id, field, entries, context):
    names = client.app.state.service.models.production()[model_id].context_names
    known = {
        name: [value if np.isfinite(value) else None for value in values]
        for name, values in context.items()
        if name in names
    }
    body = {"model": model_id, field: entries} | ({"context": known} if known else {})
    return body, client.post("/predict", json=body)


def plain(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("model_id", [f"{name}-{variant}" for name, variant in EVERY])
def test_each_row_is_answered_as_by_predict(world, smalls, model_id):
    small = smalls[model_id]
    body, one_by_one = ask(world, small, model_id, *rows_of(small))
    single = one_by_one.json()["predictions"]
    batch = world.post("/predict/batch", json=body).json()
    assert (batch["n_rows"], batch["n_errors"]) == (40, 0)
    assert (batch["model_id"], batch["model_version"]) == (model_id, 1)
    for row, answer in enumerate(batch["answers"]):
        assert answer.pop("row") == row
        assert answer.pop("error") is None
        answer.pop("id", None)
        assert plain(answer) == plain(single[str(row)]), row


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=2),
)
ROWS = st.one_of(
    st.fixed_dictionaries({"first": VALUES, "second": VALUES}),
    st.lists(VALUES, max_size=3),
    st.dictionaries(st.sampled_from(("first", "second", "third")), VALUES),
    VALUES,
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(ROWS, min_size=1, max_size=6))
def test_whatever_a_row_holds_batch_and_predict_agree_about_it(world, rows):
    body = {"model": NUMBERS, "rows": rows}
    single, batch = world.post("/predict", json=body), world.post("/predict/batch", json=body)
    assert single.status_code == batch.status_code == 200
    for row, answer in enumerate(batch.json()["answers"]):
        if str(row) in single.json()["errors"]:
            assert answer["error"]["code"] == single.json()["errors"][str(row)]["code"]
            assert answer["value"] is None
        else:
            known = single.json()["predictions"][str(row)]
            assert plain(answer["value"]) == plain(known["value"])


def test_a_bad_feature_row_leaves_the_others_alone(world, smalls):
    good = smalls[SIGNALS].X[:2].astype(float).tolist()
    body = {"model": SIGNALS, "rows": [good[0], [1.0], good[1]]}
    found = world.post("/predict/batch", json=body).json()
    assert [answer["error"] is None for answer in found["answers"]] == [True, False, True]
    assert found["answers"][1]["error"]["code"] == "shape"
    assert found["answers"][1]["error"]["message"].startswith("rows[1]: ")


@pytest.mark.integration
def test_windows_are_answered_as_by_predict(world, tmp_path):
    small = small_version(tmp_path, "return_forecast", "closes", window=3)
    *_, version = load(small.files, "windowed", 1, is_measured=False)
    models = world.app.state.service.models
    models.learn(models.aliases() | {"windowed": {"production": 1}})
    models.serve(replace(version, model_id="windowed"))
    X = np.stack([small.X[i : i + 3] for i in range(5)]).astype(float)
    body = {"model": "windowed", "rows": X.tolist()}
    single = world.post("/predict", json=body).json()["predictions"]
    batch = world.post("/predict/batch", json=body).json()["answers"]
    assert [plain(a["score"]) for a in batch] == [plain(single[str(i)]["score"]) for i in range(5)]
    lists = {name: X[:, :, j].tolist() for j, name in enumerate(small.contract.feature_names)}
    sent = as_parquet(pl.DataFrame(lists))
    headers = {"content-type": PARQUET}
    found = world.post(
        "/predict/batch", content=sent, params={"model": "windowed"}, headers=headers
    )
    assert [plain(a["score"]) for a in found.json()["answers"]] == [
        plain(a["score"]) for a in batch
    ]


# Symbols ----------------------------------------------------------------------------------------


def test_symbols_are_answered_in_slices_as_by_predict(client, post_history):
    symbols = [f"S{i}" for i in range(7)]
    post_history(*symbols[:6])
    set_limit(client, "max_batch_size", 3)
    batch = client.post("/predict/batch", json={"model": "volatility_forecast", "symbols": symbols})
    found = batch.json()["answers"]
    assert [answer["symbol"] for answer in found] == symbols
    set_limit(client, "max_batch_size", 50)
    body = {"model": "volatility_forecast", "symbols": symbols}
    single = client.post("/predict", json=body).json()
    for answer in found[:6]:
        known = single["predictions"][answer["symbol"]]
        assert {name: answer[name] for name in known} == known
    assert found[6]["error"]["code"] == "no_history"
    assert batch.json()["n_errors"] == 1


def test_a_list_of_symbols_with_features_is_taken(client, post_history):
    post_history("AAPL", "MSFT")
    entries = [
        {"symbol": "AAPL", "features": {"price_data": 101.5, "technical_indicators": {"rsi": 50}}},
        {"symbol": "MSFT"},
    ]
    url = "/predict/batch?model=volatility_forecast"
    answer = client.post(url, json=entries)
    assert answer.status_code == 200, answer.text
    features = {"price_data": [101.5, None], "technical_indicators": {"rsi": [50, None]}}
    body = {"model": "volatility_forecast", "symbols": ["AAPL", "MSFT"], "features": features}
    single = client.post("/predict", json=body).json()
    assert answer.json()["ignored"] == single["ignored"]
    for found in answer.json()["answers"]:
        known = single["predictions"][found["symbol"]]
        assert {name: found[name] for name in known} == known


def test_a_list_asks_tables_and_texts_too(world):
    rows = [{"symbol": "a", "features": {"first": 1.0, "second": None}}]
    found = world.post(f"/predict/batch?model={NUMBERS}", json=rows).json()["answers"]
    assert (found[0]["symbol"], found[0]["error"]) == ("a", None)
    texts = [{"symbol": "n-17", "features": {"text": "Profit rose."}}]
    found = world.post("/predict/batch?model=sentiment-texts", json=texts).json()["answers"]
    assert (found[0]["id"], found[0]["error"]) == ("n-17", None)


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("", [], 422),
        ("", [{"symbol": "A"}], 422),
        ("?model=volatility_forecast", [{"features": {}}], 422),
        ("?model=volatility_forecast", [{"symbol": "A"}, {"symbol": "A"}], 422),
        ("?model=volatility_forecast", [{"symbol": "A", "extra": 1}], 422),
        ("?model=nowhere", [{"symbol": "A"}], 404),
        ("?model=volatility_forecast&version=1&alias=staging", [{"symbol": "A"}], 422),
        ("?odd=1", {"model": "volatility_forecast", "symbols": ["A"]}, 422),
        ("?model=other", {"model": "volatility_forecast", "symbols": ["A"]}, 422),
        ("", {"model": "volatility_forecast", "texts": ["A"]}, 422),
        ("", {"model": "volatility_forecast", "symbols": ["A", "A"]}, 422),
        (
            "",
            {
                "model": "volatility_forecast",
                "symbols": ["A", "B"],
                "features": {"price_data": [1.0]},
            },
            422,
        ),
        ("", {"model_type": "m", "portfolio": {"positions": [{"symbol": "A"}]}}, 404),
        ("", 7, 422),
    ],
)
def test_json_that_is_no_question_is_refused(client, query, body, status):
    answer = client.post(f"/predict/batch{query}", json=body)
    assert answer.status_code == status, answer.text


def test_json_longer_than_a_body_may_be_is_refused(client):
    set_limit(client, "max_body_size", 1000)
    body = {"model": "volatility_forecast", "rows": [[0.0] * 24] * 100}
    assert client.post("/predict/batch", json=body).status_code == 413


# Files ------------------------------------------------------------------------------------------


def as_parquet(frame):
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def as_arrow(frame):
    content = io.BytesIO()
    frame.write_ipc_stream(content)
    return content.getvalue()


TABLE = pl.DataFrame(
    {"id": ["a", "b", "c"], "first": [1.5, None, float("inf")], "second": [1, 2, 3]}
)
WRITERS = {ARROW: as_arrow, PARQUET: as_parquet}


def send(client, content, kind, accept="*/*", **query):
    headers = {"content-type": kind, "accept": accept}
    params = {"model": NUMBERS} | query
    return client.post("/predict/batch", content=content, headers=headers, params=params)


@pytest.mark.integration
@pytest.mark.parametrize("kind", WRITERS)
def test_rows_of_a_file_are_answered_in_order_with_what_is_kept(world, kind):
    answer = send(world, WRITERS[kind](TABLE), kind, keep="id")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [row["id"] for row in found["answers"]] == ["a", "b", "c"]
    assert [row["error"] is None for row in found["answers"]] == [True, True, False]
    assert "first" in found["answers"][2]["error"]["message"]
    rows = [{"first": 1.5, "second": 1}, {"first": None, "second": 2}]
    single = world.post("/predict", json={"model": NUMBERS, "rows": rows}).json()["predictions"]
    for i in range(2):
        assert plain(found["answers"][i]["value"]) == plain(single[str(i)]["value"])


@pytest.mark.integration
@pytest.mark.parametrize("accept", WRITERS)
def test_answers_come_as_typed_columns(world, accept):
    answer = send(world, as_parquet(TABLE), PARQUET, accept, keep="id")
    assert answer.headers["content-type"] == accept
    content = io.BytesIO(answer.content)
    found = pl.read_parquet(content) if accept == PARQUET else pl.read_ipc_stream(content)
    assert found.schema["value"] == pl.Float64
    assert found.schema["interval"].fields[0].name == "lower"
    assert found.schema["as_of"] == pl.Datetime("us", "UTC")
    assert found["row"].to_list() == [0, 1, 2]
    table = pq.read_table(io.BytesIO(answer.content)) if accept == PARQUET else None
    if table is not None:
        facts = json.loads(table.schema.metadata[b"nautilus_ml_engine"])
        assert (facts["model_id"], facts["n_errors"]) == (NUMBERS, 1)


@pytest.mark.integration
def test_a_content_type_or_accept_that_is_not_there_is_refused(world):
    assert send(world, b"a,b\n1,2\n", "text/csv").status_code == 415
    assert send(world, as_parquet(TABLE), PARQUET, "text/html").status_code == 422


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({"first": pl.Series(["a", "b", "c"])}, "column_type", "first"),
        ({"second": pl.Series([True, False, True])}, "column_type", "second"),
        ({"first": pl.Series([[1.0], [2.0], [3.0]])}, "column_type", "first"),
    ],
)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_column_of_a_wrong_type_is_named(world, kind, changed, code, named):
    answer = send(world, WRITERS[kind](TABLE.with_columns(**changed)), kind)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == code
    assert named in answer.json()["error"]["message"]


@pytest.mark.integration
def test_an_absent_column_is_named(world):
    answer = send(world, as_parquet(TABLE.drop("second")), PARQUET)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "missing_columns")


@pytest.mark.integration
def test_dictionary_columns_are_read_as_what_they_hold(world):
    texts = ["Profit rose.", "Shares plunged.", "Profit rose."]
    table = pa.table({"text": pa.array(texts).dictionary_encode()})
    content = io.BytesIO()
    with pa.ipc.new_stream(content, table.schema) as writer:
        writer.write_table(table)
    answer = send(world, content.getvalue(), ARROW, model="sentiment-texts")
    single = world.post("/predict", json={"model": "sentiment-texts", "texts": texts}).json()
    found = [row["score"] for row in answer.json()["answers"]]
    assert [plain(s) for s in found] == [
        plain(single["predictions"][str(i)]["score"]) for i in range(3)
    ]


@pytest.mark.integration
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1", b"\xff" * 99])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_is_none_is_refused(world, kind, content):
    answer = send(world, content, kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "frame_file")
    assert list(results_dir(world).glob("*")) == [results_dir(world) / ".arriving"]


@pytest.mark.integration
@pytest.mark.parametrize("kind", WRITERS)
def test_a_bomb_is_refused_and_the_server_goes_on(world, kind):
    values = pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int8), ["x" * 5_000_000])
    table = pa.table({"text": values})
    content = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(table, content)
    else:
        with pa.ipc.new_stream(content, table.schema) as writer:
            writer.write_table(table)
    answer = send(world, content.getvalue(), kind, model="sentiment-texts")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "frame_file")
    assert send(world, as_parquet(TABLE), PARQUET).status_code == 200


def results_dir(client):
    return client.app.state.service.platform.results_dir


@pytest.mark.integration
def test_a_body_that_was_answered_leaves_no_file(world):
    assert send(world, as_parquet(TABLE), PARQUET).status_code == 200
    assert list(results_dir(world).glob(".arriving/*")) == []


# Keys -------------------------------------------------------------------------------------------


def test_a_key_of_other_models_asks_about_none_of_these(world):
    _, text = make_key(
        world.app.state.service.database, Rights(("predict",), model_ids=("other",)), actor="test"
    )
    world.app.state.service.security.keys.load()
    headers = {"authorization": f"Bearer {text}"}
    body = {"model": NUMBERS, "rows": [[1.0, 2.0]]}
    assert world.post("/predict/batch", json=body, headers=headers).status_code == 403
    listed = world.post(f"/predict/batch?model={NUMBERS}", json=[{"symbol": "a"}], headers=headers)
    assert listed.status_code == 403
    files = headers | {"content-type": PARQUET}
    url = f"/predict/batch?model={NUMBERS}"
    assert world.post(url, content=b"PAR1", headers=files).status_code == 403


# Jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def many(world):
    """An application that answers two rows at once, and no more."""
    set_limit(world, "batch_inline_rows", 2)
    return world


def run_job(client, smalls, job_id, model_id):
    """Do what the worker and stage `score` do with a job, without MLflow."""
    service = client.app.state.service
    job = leases.claim(service.database, "test")
    assert job.id == job_id
    small = smalls[model_id].files
    folder = ResultFolder(service.platform.results_dir, str(job.payload["results"]))
    answerer = load_answerer(small)
    asked = folder.entries()
    if asked is None:
        keep = tuple(filter(None, str(job.payload["keep"]).split(",")))
        rows = of_body(answerer, folder.body(), keep)
    else:
        context = {name: np.array(v, dtype=float) for name, v in asked.context.items()}
        rows = of_entries(answerer, asked.entries, context, kept_frame(asked.kept, asked.entries))
    stage.run(small, answerer, rows, replace(folder.result, reserve_bytes=0), {})
    folder.drop_body()
    leases.finish(service.database, job, {})


@pytest.mark.integration
def test_many_rows_of_a_file_become_a_job_and_its_answers_come_by_pages(many, smalls):
    asked = send(many, as_parquet(TABLE), PARQUET, keep="id")
    assert asked.status_code == 202, asked.text
    job_id = asked.json()["job_id"]
    assert asked.headers["location"] == f"/jobs/{job_id}"
    url = asked.json()["results"]
    waiting = many.get(url)
    assert (waiting.status_code, waiting.json()["state"]) == (200, "queued")
    early = many.get(url, headers={"accept": PARQUET})
    assert (early.status_code, early.json()["error"]["code"]) == (409, "result_not_ready")
    run_job(many, smalls, job_id, NUMBERS)
    first = many.get(url, params={"limit": 2}).json()
    assert (first["state"], first["n_rows"], first["next_offset"]) == ("done", 3, 2)
    assert [row["id"] for row in first["answers"]] == ["a", "b"]
    last = many.get(url, params={"offset": 2}).json()
    assert ([row["id"] for row in last["answers"]], last["next_offset"]) == (["c"], None)
    whole = many.get(url, headers={"accept": PARQUET})
    assert pl.read_parquet(io.BytesIO(whole.content))["row"].to_list() == [0, 1, 2]
    stream = many.get(url, headers={"accept": ARROW})
    assert len(pl.read_ipc_stream(io.BytesIO(stream.content))) == 3


@pytest.mark.parametrize("model_id", [f"{name}-{variant}" for name, variant in EVERY])
def test_a_job_answers_as_a_batch_does(world, smalls, model_id):
    body, _ = ask(world, smalls[model_id], model_id, *rows_of(smalls[model_id]))
    at_once = world.post("/predict/batch", json=body).json()["answers"]
    set_limit(world, "batch_inline_rows", 2)
    asked = world.post("/predict/batch", json=body)
    assert asked.status_code == 202, asked.text
    run_job(world, smalls, asked.json()["job_id"], model_id)
    later = world.get(asked.json()["results"]).json()["answers"]
    assert [plain(answer) for answer in later] == [plain(answer) for answer in at_once]


@pytest.mark.integration
def test_the_same_request_with_a_key_is_one_job_and_one_body(many):
    headers = {"content-type": PARQUET, "idempotency-key": "night-1"}
    url = f"/predict/batch?model={NUMBERS}"
    sent = [many.post(url, content=as_parquet(TABLE), headers=headers) for _ in range(2)]
    assert sent[0].json()["job_id"] == sent[1].json()["job_id"]
    assert len(list(results_dir(many).glob("[0-9a-f]*"))) == 1
    other = many.post(url, content=as_parquet(TABLE.head(3).reverse()), headers=headers)
    assert other.status_code == 409
    assert len(list(results_dir(many).glob("[0-9a-f]*"))) == 1


@pytest.mark.integration
def test_a_batch_holds_up_neither_trainings_nor_what_watches(many):
    asked = send(many, as_parquet(TABLE), PARQUET)
    database = many.app.state.service.database
    queue.enqueue(database, "main", {}, model_id=NUMBERS)
    queue.enqueue(database, "drift", {}, model_id=NUMBERS)
    taken = [leases.claim(database, "test").entry_point for _ in range(3)]
    assert sorted(taken[:2]) == ["drift", "main"]
    assert taken[2] == "score"
    job = queue.get(database, asked.json()["job_id"])
    assert (job.is_short, job.priority) == (True, -1)


@pytest.mark.integration
def test_results_are_kept_for_a_while_and_never_swept_from_under_a_job(many, smalls):
    asked = send(many, as_parquet(TABLE), PARQUET).json()
    set_limit(many, "results_retention", 1e-12)
    batches = many.app.state.service.batches
    assert batches.sweep() == 0
    run_job(many, smalls, asked["job_id"], NUMBERS)
    assert batches.sweep() == 1
    gone = many.get(asked["results"])
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "result_gone")


@pytest.mark.parametrize("job_id", ["nowhere", "..%2f..%2fetc", "0" * 32])
def test_results_of_what_is_no_batch_job_are_not_there(many, job_id):
    assert many.get(f"/predict/results/{job_id}").status_code in (404, 422)
    database = many.app.state.service.database
    other = queue.enqueue(database, "main", {}, model_id=NUMBERS)
    assert many.get(f"/predict/results/{other.id}").status_code == 404


@pytest.mark.integration
def test_a_failed_job_says_why(many):
    asked = send(many, as_parquet(TABLE), PARQUET).json()
    database = many.app.state.service.database
    job = replace(leases.claim(database, "test"), max_attempts=1)
    leases.fail(database, job, "the disk is full (output: /srv/var/jobs/x.log)")
    found = many.get(asked["results"]).json()
    assert found["state"] == "failed"
    assert "the disk is full" in found["error"]
    assert "/srv/var" not in found["error"]


@pytest.mark.integration
def test_a_disk_without_room_refuses_the_body_and_keeps_nothing(world, monkeypatch):
    monkeypatch.setattr("pipelines.data.results.RESERVE_BYTES", 1 << 62)
    from pipelines.data import results

    kept = results.arriving
    monkeypatch.setattr(results, "arriving", lambda root, format: kept(root, format, 1 << 62))
    answer = send(world, as_parquet(TABLE), PARQUET)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
    assert list(results_dir(world).glob(".arriving/*")) == []


@pytest.mark.integration
def test_serving_imports_no_arrow_before_a_file_comes():
    script = "import sys, serving.app; print('pyarrow' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
