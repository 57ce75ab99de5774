"""Tables and texts the whole way: a file, the stages, a registered version, answers, drift."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from monitoring.drift import judge_window, watch
from monitoring.outcome_reports import OutcomeReport, Reporting
from monitoring.prediction_log import PredictionLog
from monitoring.row_labels import new_label_times
from monitoring.settings import MonitoringSettings, PredictionLogSettings
from pipelines import main
from pipelines.templates.answer_fields import as_json
from registry.artifacts import ArtifactCache
from registry.database import open_engine
from registry.gates import refusals
from registry.versions import Registry
from serving import examples
from serving.computation import Computation
from serving.forms import gather
from serving.loading import load
from serving.predictions import Served, logged
from serving.router import Route
from serving.schemas import PredictRequest

pytestmark = [pytest.mark.integration, pytest.mark.slow]
N = 400


@pytest.fixture
def made(installation):
    """Make a version by stage main, ask that its gates are open, and load it as a server does."""
    engine = open_engine(installation)

    def make(*line: str):
        main.main([*line, "--promote", "true"])
        model_id = line[1]
        version = Registry(installation, engine).get(model_id, 1)
        assert refusals(version.record, "serve", model_id) == ()
        files = ArtifactCache(installation, engine).fetch(model_id, 1)
        *_, loaded = load(files, model_id, 1, is_measured=False)
        return SimpleNamespace(loaded=loaded, files=files, settings=installation, engine=engine)

    yield make
    engine.dispose()


def answers(loaded, **question):
    request = PredictRequest(model=loaded.model_id, **question)
    batch = gather(request, loaded, None, 1000)
    option = loaded.options[0]
    scores = option.predictor(batch.X)
    decoded = loaded.template.decode(
        scores, batch.newest_step, batch.context, loaded.decoder, loaded.contract
    )
    found = dict(zip(batch.keys, map(as_json, decoded), strict=True))
    call = Computation(batch, scores, found, {}, Route(option, None), 0.001)
    return found, logged(call, loaded, [Served("r", 1.0, list(found))])


def watched(made, given):
    log = PredictionLog(made.settings.predictions_dir, PredictionLogSettings())
    log.append(given)
    log.close()
    return watch(made.files, made.settings, made.engine, None)


def report_outcomes(made, given, values):
    """Report what became of logged rows, each known when it was answered."""
    log = PredictionLog(made.settings.predictions_dir, PredictionLogSettings())
    reports = [
        OutcomeReport(value, request_id="r", symbol=symbol, known_at=as_of)
        for symbol, as_of, value in zip(given.symbols, given.as_of, values, strict=True)
    ]
    reporting = Reporting(made.engine, Registry(made.settings, made.engine), log)
    receipt = reporting.take(reports, lambda _: True, "test", datetime.now(UTC))
    log.close()
    return receipt


def table(n, seed):
    rng = np.random.default_rng(seed)
    age, city = rng.integers(18, 80, n), rng.choice(["Rome", "Oslo"], n)
    high = 0.1 * (age - 50) + 2.0 * (city == "Rome") - 1 + rng.normal(size=n) > 0
    return pl.DataFrame({"age": age, "city": city, "risk": np.where(high, "high", "low")})


def test_a_table(made, tmp_path):
    path = tmp_path / "risks.csv"
    table(N, 0).write_csv(path)
    line = ("--template", "tabular", "--source", "files", "--path", str(path))
    small = json.dumps({"rounds": 30, "nthread": 1, "min_child_weight": 2})
    found = made(*line, "--options", '{"target": "risk"}', "--parameters", small)
    assert found.loaded.contract.label_spec["target"] == "risk"
    shown, _ = answers(found.loaded, rows=examples.TABLE_ROWS["rows"])
    assert set(shown) == {"0", "1"}
    rows = [{"age": 79, "city": "Rome"}, {"age": 19, "city": "Oslo"}, {"age": None, "city": "X"}]
    said, _ = answers(found.loaded, rows=rows)
    assert [said[str(i)]["class"] for i in (0, 1)] == ["high", "low"]
    assert said["2"]["missing"] == ["age"]

    same, other = table(N, 1), table(N, 2).with_columns(age=pl.col("age") + 40)
    given = answers(found.loaded, rows=same.drop("risk").to_dicts())[1]
    state = watched(found, given)
    assert judge_window(state, state.times[-1], MonitoringSettings()).verdict == "no_drift"
    assert report_outcomes(found, given, same["risk"].to_list()).accepted == N
    state = watch(found.files, found.settings, found.engine, None)
    performance = judge_window(state, state.times[-1], MonitoringSettings()).performance
    said = [answer["probabilities"] for answer in given.answers]
    surprise = [-np.log(p[risk]) for p, risk in zip(said, same["risk"], strict=True)]
    assert performance["loss"] == pytest.approx(np.mean(surprise[-63:]), rel=1e-5)
    assert performance["loss"] < performance["baseline_loss"] and performance["fell"] is False
    assert performance["expected_excess"] < 0
    state = watched(found, answers(found.loaded, rows=other.drop("risk").to_dicts())[1])
    report = judge_window(state, state.times[-1], MonitoringSettings())
    assert report.verdict == "drift"
    assert report.performance["new_labelled_bars"] == 0
    pl.concat([table(N, 0), table(30, 3)]).write_csv(path)
    assert len(new_label_times(found.files, found.settings)) == 30
    path.unlink()
    assert len(new_label_times(found.files, found.settings)) == 0


def test_texts_out_of_the_box(made):
    small = json.dumps({"rounds": 30, "nthread": 1, "min_child_weight": 1})
    found = made("--template", "sentiment", "--architecture", "xgboost", "--parameters", small)
    shown, _ = answers(found.loaded, texts=examples.TEXTS["texts"])
    assert set(shown) == {"0", "n-17"}
    texts = ["Shares plunge after impairment", {"id": "n", "text": "Xyzzy qwfp."}]
    said, given = answers(found.loaded, texts=texts)
    assert said["0"]["class"] == "negative" and said["0"]["score"] < 0
    assert said["n"]["abstained"] == "no_known_words"
    assert given.features.shape == (2, 6)
    more = answers(found.loaded, texts=["Profit rose at the bank"] * 60)[1]
    state = watched(found, more)
    assert judge_window(state, state.times[-1], MonitoringSettings()).verdict == "bad_data"
