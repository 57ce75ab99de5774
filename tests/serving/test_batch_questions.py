"""Symbols and portfolios in batches: as by /predict; a job answers as of its acceptance."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from monitoring.batch_log import BatchLog, JobLog
from monitoring.prediction_files import BATCHES, ModelFolder, read_folder
from monitoring.prediction_log import read_predictions
from pipelines import score as stage
from pipelines.data.results import ResultFolder
from pipelines.jobs import leases
from pipelines.recipes.prepared_rows import PreparedWriter, asked_in, of_prepared
from pipelines.recipes.scoring import load_answerer
from serving import batches
from serving.batch_inputs import of_symbols
from serving.loading import load
from serving.schemas import PredictRequest
from tests.serving import conftest as serving
from tests.serving.test_portfolio import MODEL as RISK
from tests.serving.test_portfolio import write_portfolio
from tests.serving.test_predict_batch import plain, results_dir, set_limit

MODEL = "volatility_forecast"
SYMBOLS = [f"S{i}" for i in range(7)]
LATER = {"interval": "1d", "price_basis": "adjusted"}


@pytest.fixture
def held(client, post_history):
    """Bars of all symbols but the last."""
    post_history(*SYMBOLS[:-1])
    return client


def run_job(client, job_id, files):
    """Do what the worker and entry point `score` do with a job, without MLflow."""
    service = client.app.state.service
    job = leases.claim(service.database, "test")
    assert job.id == job_id
    folder = ResultFolder(service.platform.results_dir, str(job.payload["results"]))
    path = folder.prepared()
    answerer = replace(load_answerer(files), asked=asked_in(path))
    rows = of_prepared(path, answerer.contract)
    log = BatchLog(service.platform.predictions_dir, is_kept=True)
    result = replace(folder.result, reserve_bytes=0)
    stage.run(
        files, answerer, rows, result, {}, lambda found: JobLog.of(job, folder, files, found, log)
    )
    folder.drop_body()
    leases.finish(service.database, job, {})


def next_bars(client, *symbols):
    """Post one more bar of each."""
    history = client.app.state.service.history
    bars = []
    for symbol in symbols:
        newest = history.look("1d").newest(symbol, 1).series
        stamp = int(newest.timestamp[-1]) + 86_400_000_000
        time = np.datetime_as_string(np.datetime64(stamp, "us"), unit="s") + "Z"
        bars.append({"symbol": symbol, "timestamp": time, "close": float(newest.close[-1]) * 1.3})
    assert client.post("/bars", json={"bars": bars, **LATER}).status_code == 200


def test_more_symbols_than_are_answered_at_once_are_a_job_as_of_its_acceptance(
    held, version_folder
):
    single = held.post("/predict", json={"model": MODEL, "symbols": SYMBOLS}).json()
    set_limit(held, "batch_inline_rows", 3)
    asked = held.post("/predict/batch", json={"model": MODEL, "symbols": SYMBOLS})
    assert asked.status_code == 202, asked.text
    assert asked.json()["warnings"] == [
        f"symbols: not in the training data: {', '.join(SYMBOLS[:-1])}"
    ]
    next_bars(held, *SYMBOLS[:-1])
    run_job(held, asked.json()["job_id"], serving.files_of(version_folder))
    found = held.get(asked.json()["results"]).json()["answers"]
    assert [answer["symbol"] for answer in found] == SYMBOLS
    for row, answer in enumerate(found[:-1]):
        known = single["predictions"][answer["symbol"]]
        assert {name: plain(answer[name]) for name in known} == plain(known)
        assert (answer["row"], answer["error"]) == (row, None)
    assert found[-1]["error"]["code"] == single["errors"][SYMBOLS[-1]]["code"]
    assert found[-1]["error"]["message"] == single["errors"][SYMBOLS[-1]]["message"]
    assert not list(results_dir(held).glob("*/prepared.arrow"))


def test_what_a_caller_knows_of_the_symbols_goes_with_the_job(held, version_folder):
    entries = [
        {"symbol": "S0", "features": {"price_data": 101.5, "technical_indicators": {"rsi": 50}}},
        {"symbol": "S1", "features": {"price_data": -1}},
        {"symbol": "S2"},
    ]
    url = f"/predict/batch?model={MODEL}"
    at_once = held.post(url, json=entries).json()
    assert at_once["answers"][1]["error"]["code"] == "value_range"
    set_limit(held, "batch_inline_rows", 2)
    asked = held.post(url, json=entries).json()
    assert asked["ignored"] == at_once["ignored"]
    run_job(held, asked["job_id"], serving.files_of(version_folder))
    later = held.get(asked["results"]).json()["answers"]
    assert [plain(answer) for answer in later] == [plain(a) for a in at_once["answers"]]


def test_all_slices_of_a_batch_see_the_bars_of_one_moment(held, monkeypatch):
    """A bar that comes while a batch is answered changes none of its answers."""
    monkeypatch.setattr(batches, "FIRST_SLICE", 1)
    monkeypatch.setattr(batches, "_next_size", lambda *_: 1)
    run = held.app.state.service.engine.predicting.run
    posted = []

    async def run_and_post(work):
        if not posted:
            posted.append(True)
            history = held.app.state.service.history
            for symbol in SYMBOLS[:-1]:
                newest = history.look("1d").newest(symbol, 1).series
                stamp = pl.Series([int(newest.timestamp[-1]) + 86_400_000_000])
                bar = pl.DataFrame(
                    {
                        "symbol": [symbol],
                        "timestamp": stamp.cast(pl.Datetime("us", "UTC")),
                        "close": newest.close[-1:] * 1.3,
                    }
                )
                history.append(bar, "1d", "adjusted")
        return await run(work)

    monkeypatch.setattr(held.app.state.service.engine.predicting, "run", run_and_post)
    body = {"model": MODEL, "symbols": SYMBOLS[:-1]}
    found = held.post("/predict/batch", json=body).json()["answers"]
    assert posted
    assert len({answer["as_of"] for answer in found}) == 1
    after = held.post("/predict/batch", json=body).json()["answers"]
    assert after[0]["as_of"] > found[0]["as_of"]


def test_symbols_of_a_job_are_in_the_log_as_those_of_predict(held, version_folder):
    set_limit(held, "batch_inline_rows", 2)
    asked = held.post("/predict/batch", json={"model": MODEL, "symbols": SYMBOLS[:4]}).json()
    run_job(held, asked["job_id"], serving.files_of(version_folder))
    found = read_predictions(results_dir(held).parent / "predictions", MODEL)
    assert found["symbol"].to_list() == SYMBOLS[:4]
    assert found["job_id"].unique().to_list() == [asked["job_id"]]
    assert found["row"].to_list() == [0, 1, 2, 3]
    assert (found["source_kind"].unique().to_list(), found["version"].to_list()) == (
        ["bars"],
        [1] * 4,
    )
    assert found["as_of"].null_count() == 0


def test_a_disk_without_room_refuses_the_symbols_and_keeps_nothing(held, monkeypatch):
    monkeypatch.setattr(batches, "PreparedWriter", lambda *a: PreparedWriter(*a, 1 << 62))
    set_limit(held, "batch_inline_rows", 2)
    answer = held.post("/predict/batch", json={"model": MODEL, "symbols": SYMBOLS[:3]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
    assert [path.name for path in results_dir(held).rglob("*")] == [".arriving"]


@pytest.mark.parametrize(
    "body",
    [
        {"symbols": ["A", "B", "A"]},
        {"symbols": ["A", "B", "C"], "features": {"price_data": [1.0, 2.0]}},
        {"symbols": ["A", "B", "C"], "prediction_horizon": ["1d"]},
    ],
)
def test_symbols_that_are_no_question_make_no_job(client, body):
    set_limit(client, "batch_inline_rows", 2)
    answer = client.post("/predict/batch", json={"model": MODEL, **body})
    assert answer.status_code == 422, answer.text
    assert not results_dir(client).exists() or not list(results_dir(client).glob("[0-9a-f]*"))


def test_prepared_rows_are_the_slices_that_were_written(tmp_path, held):
    """Whatever the sizes they were written and are read in."""
    service = held.app.state.service
    version = service.models.find(MODEL, None)
    request = PredictRequest(model=MODEL, symbols=SYMBOLS)
    rows = of_symbols(request, version, service.engine.online).rows
    whole = next(rows.slices(100, 0))
    with PreparedWriter(tmp_path / "p.arrow", reserve_bytes=0) as writer:
        for part in rows.slices(3, 0):
            writer.write(part)
    read = of_prepared(tmp_path / "p.arrow", version.contract)
    assert read.n_rows == len(SYMBOLS)
    for size, first in ((2, 0), (100, 0), (3, 4)):
        parts = list(read.slices(size, first))
        kept = pl.concat([part.kept for part in parts])
        assert kept.equals(whole.kept[first:])
        X = np.concatenate([part.rows.X for part in parts])
        assert np.array_equal(X, whole.rows.X[first:])
        errors = [error for part in parts for error in part.rows.errors.values()]
        assert [(e.code, e.for_callers) for e in errors] == [
            (e.code, e.for_callers) for e in whole.rows.errors.values()
        ]


# Portfolios -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def risk_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("risk")
    write_portfolio(directory, serving.contract_of())
    return serving.files_of(directory, RISK)


@pytest.fixture
def risk(client, app, risk_files):
    *_, version = load(risk_files, RISK, 1, is_measured=False)
    models = app.state.service.models
    models.learn({RISK: {"production": 1}})
    models.serve(version)
    return client


BOOKS = [
    {
        "symbol": "long",
        "features": {
            "positions": [{"symbol": "AAPL", "weight": 0.6}, {"symbol": "MSFT", "weight": 0.4}],
            "risk_metrics": ["var_95", "component_cvar_95", "beta"],
        },
    },
    {
        "symbol": "wrong",
        "features": {"positions": [{"symbol": "AAPL", "weight": 0.9}]},
    },
    {
        "symbol": "short",
        "features": {
            "positions": [{"symbol": "KO", "weight": 1.5}, {"symbol": "MSFT", "weight": -0.5}],
        },
    },
]


def known(value):
    """A value without what is null, which /predict leaves out."""
    if isinstance(value, dict):
        return {name: known(entry) for name, entry in value.items() if entry is not None}
    return value


def single_of(client, book):
    features = dict(book["features"])
    body = {"model": RISK, "portfolio": {"positions": features.pop("positions")}, **features}
    return client.post("/predict", json=body)


def test_portfolios_are_answered_as_by_predict(risk):
    found = risk.post(f"/predict/batch?model={RISK}", json=BOOKS)
    assert found.status_code == 200, found.text
    answers = found.json()["answers"]
    assert [answer["symbol"] for answer in answers] == ["long", "wrong", "short"]
    for i in (0, 2):
        single = single_of(risk, BOOKS[i]).json()["predictions"]["portfolio"]
        mine = {name: v for name, v in answers[i].items() if name not in ("row", "symbol")}
        assert plain(known(mine)) == plain(known(single))
    assert answers[1]["error"]["code"] == single_of(risk, BOOKS[1]).json()["error"]["code"]
    assert found.json()["n_errors"] == 1


def test_one_portfolio_is_a_batch_of_one(risk):
    body = {"model": RISK, "portfolio": {"positions": BOOKS[0]["features"]["positions"]}}
    (answer,) = risk.post("/predict/batch", json=body).json()["answers"]
    single = risk.post("/predict", json=body).json()["predictions"]["portfolio"]
    assert answer["symbol"] == "portfolio"
    assert plain(answer["var_99"]) == plain(single["var_99"])


def test_many_portfolios_are_a_job(risk, risk_files):
    url = f"/predict/batch?model={RISK}"
    at_once = risk.post(url, json=BOOKS).json()["answers"]
    set_limit(risk, "batch_inline_rows", 2)
    asked = risk.post(url, json=BOOKS).json()
    run_job(risk, asked["job_id"], risk_files)
    later = risk.get(asked["results"]).json()["answers"]
    assert [plain(answer) for answer in later] == [plain(answer) for answer in at_once]


@pytest.mark.parametrize(
    ("features", "status"),
    [
        ({"positions": []}, 422),
        ({"weights": {"AAPL": 1}}, 422),
        ({}, 422),
        ({"positions": [{"symbol": "AAPL", "weight": 1}], "risk_metrics": ["luck"]}, 422),
        ({"positions": [{"symbol": "AAPL", "weight": "1"}]}, 422),
        ({"positions": [{"symbol": "NOPE", "weight": 1}]}, 200),
    ],
)
def test_portfolios_that_are_none_are_refused(risk, features, status):
    body = [{"symbol": "a", "features": features}]
    answer = risk.post(f"/predict/batch?model={RISK}", json=body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["answers"][0]["error"]["code"] == "unknown_symbol"
    twice = risk.post(f"/predict/batch?model={RISK}", json=[BOOKS[0], BOOKS[0]])
    assert twice.status_code == 422


def test_a_job_says_that_it_runs_on_the_processor(held):
    set_limit(held, "batch_inline_rows", 2)
    body = {"model": MODEL, "symbols": SYMBOLS[:3], "hardware": "metal_gpu"}
    asked = held.post("/predict/batch", json=body)
    assert asked.status_code == 202, asked.text
    assert "hardware: jobs run on cpu, not on metal_gpu" in asked.json()["warnings"]
    assert held.post("/predict/batch", json=body | {"hardware": "abacus"}).status_code == 422
    strict = held.post("/predict/batch", json=body | {"strict": True})
    assert strict.status_code == 503
    assert len(list(results_dir(held).glob("[0-9a-f]*"))) == 1


def test_any_hardware_may_be_named_in_the_query(held):
    url = f"/predict/batch?model={MODEL}&hardware=auto"
    assert held.post(url, json=[{"symbol": "S0"}]).status_code == 200


def test_a_symbol_without_bars_of_its_own_is_its_error(held, make):
    bars = {"S0": make.body(make.bars("S0").drop("symbol")), "S9": []}
    body = {"model": MODEL, "symbols": ["S0", "S1"], "bars": bars, "price_basis": "adjusted"}
    found = held.post("/predict/batch", json=body)
    assert found.status_code == 200, found.text
    single = held.post("/predict", json=body).json()
    first, second = found.json()["answers"]
    assert plain(first["forecast_variance"]) == plain(
        single["predictions"]["S0"]["forecast_variance"]
    )
    assert second["error"]["code"] == single["errors"]["S1"]["code"] == "no_history"
    assert found.json()["ignored"] == single["ignored"] == ["bars.S9"]


def test_a_warning_lists_ten_names_and_counts_the_others(client, post_history):
    symbols = [f"T{i:02}" for i in range(13)]
    post_history(*symbols)
    found = client.post("/predict/batch", json={"model": MODEL, "symbols": symbols}).json()
    assert found["warnings"] == [
        f"symbols: not in the training data: {', '.join(symbols[:10])}, and 3 more"
    ]


def test_inputs_that_take_too_long_make_no_job(held, monkeypatch):
    set_limit(held, "batch_inline_rows", 2)
    set_limit(held, "upload_timeout", 1e-9)
    answer = held.post("/predict/batch", json={"model": MODEL, "symbols": SYMBOLS})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "time_limit")
    assert "UPLOAD_TIMEOUT" in answer.json()["error"]["message"]
    assert [path.name for path in results_dir(held).rglob("*")] == [".arriving"]


def test_rows_of_a_batch_answered_at_once_are_logged_apart_and_found_by_outcomes(risk):
    found = risk.post(f"/predict/batch?model={RISK}", json=BOOKS).json()
    log = ModelFolder(results_dir(risk).parent / "predictions" / RISK / BATCHES)
    rows = read_folder(log).rows.sort("row")
    assert rows["symbol"].to_list() == ["long", "short"]
    assert rows["row"].to_list() == [0, 2]
    assert rows["request_id"].unique().to_list() == [found["request_id"]]
    assert (rows["job_id"].null_count(), rows["source_kind"].to_list()) == (2, ["portfolio"] * 2)
    assert rows["n_scores"].to_list() == [400, 400]
    assert rows["scores"].list.len().to_list() == [31, 31]
    assert read_predictions(results_dir(risk).parent / "predictions", RISK).is_empty()
