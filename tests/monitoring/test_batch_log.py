"""Rows of batches in the prediction log: by columns, as /predict logs them, apart, once each."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from monitoring.batch_log import Batch, BatchLog, JobLog
from monitoring.logged_answers import by_request
from monitoring.prediction_files import BATCHES, ModelFolder, read_folder
from monitoring.prediction_log import PredictionLog, read_predictions
from monitoring.prediction_merges import merge_past
from monitoring.prediction_retention import remove_old
from monitoring.prediction_rows import SCHEMA, frame_of
from monitoring.settings import PredictionLogSettings
from pipelines import score as stage
from pipelines.data.result_files import ResultFile
from pipelines.data.results import Entries, keep_entries
from pipelines.jobs import queue
from pipelines.recipes.scored_rows import kept_frame, of_entries
from pipelines.recipes.scoring import answers_of, load_answerer, with_model
from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import as_json
from registry.flavors import Artifact
from serving.computation import Computation
from serving.forms import ModelInput, Provenance
from serving.loading import load
from serving.predictions import Served, logged
from serving.router import Route
from tests.small_versions import EVERY, small_version

ONNX = Artifact("onnx")
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
N = 12


@pytest.fixture(scope="module")
def smalls(tmp_path_factory):
    names = {"tabular-numbers", "trading_signals-closes", "sentiment-texts", "anomaly-closes"}
    return {
        f"{name}-{variant}": small_version(tmp_path_factory.mktemp(name), name, variant)
        for name, variant in EVERY
        if f"{name}-{variant}" in names
    }


def batch_of(small, **changes):
    template = TEMPLATES.get(small.contract.template)
    facts = {
        "contract": small.contract,
        "template": template,
        "version": 1,
        "request_id": "night-1",
        "served_at": AT,
        "flavor": "onnx.fp32",
        "backend": "cpu",
        "source_kind": "rows" if template.inputs == "bars" else template.inputs,
        "latency_ms": 3.0,
    }
    return Batch(**facts | changes)


def slices_of(small, *sizes):
    """Answered slices; the third row cannot be answered."""
    answerer = with_model(small.files, load_answerer(small.files), ONNX)
    kind = small.contract.template
    if kind == "sentiment":
        entries = [f"profit {i} rose" for i in range(N)]
    elif kind == "tabular":
        entries = [{"first": float(i), "second": 0.5} for i in range(N)]
    else:
        entries = small.X[:N].astype(float).tolist()
    entries[2] = 7
    rows = of_entries(answerer, entries, {}, kept_frame({}, entries))
    found, first = [], 0
    for size in sizes:
        found.append(answers_of(next(rows.slices(size, first)), answerer))
        first += size
    return found


def plain(value):
    """A value as JSON has it, numbers rounded to 12 digits."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "model_id", ["tabular-numbers", "trading_signals-closes", "anomaly-closes"]
)
def test_a_row_is_logged_as_predict_logs_it(smalls, model_id):
    small = smalls[model_id]
    batch = batch_of(small)
    parts = slices_of(small, 5, 7)
    found = batch.rows([batch.columns(part) for part in parts], 0)
    assert found.schema == pl.Schema(SCHEMA)
    assert found["row"].to_list() == [i for i in range(N) if i != 2]
    *_, version = load(small.files, model_id, 1, is_measured=False)
    X = np.concatenate([part.features for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    keys = tuple(str(i) for i in range(N) if i != 2)
    told = (version.decoder, version.contract, version.refusals)
    answers = version.template.decode(scores, X, {}, *told)
    nothing = {"as_of": None, "history_end": None, "price_basis": None}
    as_given = {key: as_json(a) | nothing for key, a in zip(keys, answers, strict=True)}
    single = ModelInput(keys, X, {}, (Provenance(),) * len(X), {}, (), batch.source_kind)
    route = Route(version.options[0], None)
    call = Computation(single, scores, as_given, {}, route, 0.003)
    wanted = frame_of([logged(call, version, [Served("night-1", 3.0, keys)])])
    same = ["request_id", "model_id", "version", "backend", "symbol", "features", "scores"]
    same += ["source_kind", "n_scores", "latency_ms"]
    assert found.select(same).equals(wanted.select(same).with_columns(model_id=found["model_id"]))
    for mine, theirs in zip(found["answer"], wanted["answer"], strict=True):
        assert plain(json.loads(mine)) == plain(json.loads(theirs))


def test_rows_without_times_are_logged_as_they_came(smalls):
    small = smalls["tabular-numbers"]
    batch = batch_of(small)
    found = batch.rows([batch.columns(part) for part in slices_of(small, 5, 7)], 100)
    assert found["row"].to_list()[:3] == [100, 101, 103]
    assert (found["as_of"] - AT).dt.total_microseconds().to_list() == found["row"].to_list()
    assert found["symbol"].to_list() == [str(row) for row in found["row"]]


def test_rows_lie_apart_and_symbols_with_those_of_predict(smalls, tmp_path):
    small = smalls["trading_signals-closes"]
    log = BatchLog(tmp_path, is_kept=True)
    for kind, answered_by in (("rows", "night-1"), ("bars", "night-2")):
        batch = batch_of(small, source_kind=kind, request_id=answered_by)
        log.write(batch, batch.rows([batch.columns(part) for part in slices_of(small, N)], 0))
    model_id = small.contract.model_id
    watched = read_predictions(tmp_path, model_id)
    assert watched["request_id"].unique().to_list() == ["night-2"]
    apart = read_folder(ModelFolder(tmp_path / model_id / BATCHES)).rows
    assert apart["request_id"].unique().to_list() == ["night-1"]
    assert log.written == 2 * (N - 1)


def test_what_is_left_out_is_rows_and_never_symbols(smalls, tmp_path):
    log = BatchLog(tmp_path, is_kept=False)
    small = smalls["trading_signals-closes"]
    assert not log.wants(batch_of(small))
    assert log.wants(batch_of(small, source_kind="bars"))


def test_a_log_that_cannot_be_written_loses_rows_and_says_so(smalls, tmp_path):
    small = smalls["tabular-numbers"]
    (tmp_path / small.contract.model_id).write_text("no folder")
    log, batch = BatchLog(tmp_path, is_kept=True), batch_of(small)
    log.write(batch, batch.rows([batch.columns(part) for part in slices_of(small, N)], 0))
    assert (log.written, log.dropped) == (0, N - 1)


@pytest.mark.parametrize("kind", ["rows", "bars"])
def test_small_files_of_batches_are_merged(smalls, tmp_path, kind):
    small = smalls["trading_signals-closes"]
    log = BatchLog(tmp_path, is_kept=True)
    columns = batch_of(small).columns(slices_of(small, N)[0])
    for i in range(40):
        at = AT.replace(day=29 + (i > 2))
        batch = batch_of(small, request_id=f"r{i}", source_kind=kind, served_at=at)
        log.write(batch, batch.rows([columns], 0))
    folder = log.folder_of(batch)
    assert (folder.directory.name == BATCHES) == (kind == "rows")
    names = [path.parent.name for path in folder.files()]
    assert names.count("day=2026-11-29") == 1
    assert len(names) < 12
    assert len(read_folder(folder).rows) == 40 * (N - 1)


# Jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def job_of(engine, tmp_path):
    """A job that scores rows of a table, and its folder."""

    def make(small):
        entries = [{"first": float(i), "second": 0.5} for i in range(1000)]
        folder = keep_entries(tmp_path / "results", Entries(entries, {}, {}))
        payload = {"model_name": small.contract.model_id, "results": folder.name}
        job = queue.enqueue(engine, "score", payload, model_id=small.contract.model_id)
        return job, folder

    return make


def test_a_job_that_is_killed_between_log_and_part_logs_no_row_twice(
    smalls, job_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(stage, "SLICE_ROWS", 100)
    monkeypatch.setattr(stage, "PART_ROWS", 200)
    small = smalls["tabular-numbers"]
    job, folder = job_of(small)
    answerer = load_answerer(small.files)
    asked = folder.entries()
    rows = of_entries(answerer, asked.entries, {}, kept_frame({}, asked.entries))
    log = BatchLog(tmp_path / "log", is_kept=True)

    def attempt():
        result = replace(folder.result, reserve_bytes=0)
        return stage.run(
            small.files,
            answerer,
            rows,
            result,
            {},
            lambda artifact: JobLog.of(job, folder, small.files, artifact, log),
        )

    add = ResultFile.add_part
    for killed_at in (0, 400):  # at the first part, and at the third

        def killed(self, first_row, answers, at=killed_at):
            if first_row >= at:
                raise KeyboardInterrupt
            add(self, first_row, answers)

        monkeypatch.setattr(ResultFile, "add_part", killed)
        with pytest.raises(KeyboardInterrupt):
            attempt()
    monkeypatch.setattr(ResultFile, "add_part", add)
    merge_past(ModelFolder(tmp_path / "log" / small.contract.model_id / BATCHES), AT.date())
    assert attempt().n_rows == 1000
    found = read_folder(ModelFolder(tmp_path / "log" / small.contract.model_id / BATCHES)).rows
    assert sorted(found["row"].to_list()) == list(range(1000))
    assert found["job_id"].unique().to_list() == [job.id]
    assert found["version"].unique().to_list() == [1]
    assert found["served_at"].n_unique() == 1


def test_outcomes_find_a_row_of_a_batch_among_many(smalls, tmp_path):
    small = smalls["tabular-numbers"]
    model_id = small.contract.model_id
    batch = batch_of(small, job_id="night-1")
    log = PredictionLog(tmp_path, PredictionLogSettings())
    try:
        written = BatchLog(tmp_path, is_kept=True)
        written.write(batch, batch.rows([batch.columns(p) for p in slices_of(small, N)], 0))
        found = by_request(log, [model_id], {"night-1"}, {"7"})["night-1"]
        assert [answer.symbol for answer in found] == ["0", "1", "7"]
        assert by_request(log, [model_id], {"night-2"}, {"7"}) == {}
    finally:
        log.close()


def test_old_days_of_batches_are_removed(smalls, tmp_path, engine, settings):
    small = smalls["tabular-numbers"]
    platform = settings.model_copy(update={"data_dir": tmp_path})
    log = BatchLog(platform.predictions_dir, is_kept=True)
    columns = batch_of(small).columns(slices_of(small, N)[0])
    for day in (1, 2, 20, 21):
        batch = batch_of(small, served_at=AT.replace(day=day))
        log.write(batch, batch.rows([columns], 0))
    removed = remove_old(engine, platform, days=5)
    assert removed == {small.contract.model_id: 2}
    folder = ModelFolder(platform.predictions_dir / small.contract.model_id / BATCHES)
    assert [day.day for day in folder.days()] == [20, 21]
