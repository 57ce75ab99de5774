"""Outcomes that users report: how they are resolved, kept, and what loss they make.

Losses are computed by hand here from the logged scores and the reported values.
"""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from monitoring import logged_answers
from monitoring.drift import judge_window, watch
from monitoring.logged_answers import by_request, by_time
from monitoring.outcome_reports import LATE_AFTER, OutcomeReport, Reporting
from monitoring.prediction_files import ModelFolder
from monitoring.prediction_log import PredictionLog
from monitoring.prediction_merges import merge_past
from monitoring.prediction_rows import SCHEMA
from monitoring.reported_outcomes import (
    ReportedOutcome,
    keep,
    read_reported,
    realised_as_reported,
)
from monitoring.settings import MonitoringSettings, PredictionLogSettings
from monitoring.triggers import TRIGGERS, Level, VersionReports
from pipelines.data.tables.table_target import read_target, reported_target
from pipelines.recipes.inputs import kind_of
from pipelines.templates import TEMPLATES
from pipelines.templates.sentiment import read_labels
from pipelines.templates.sentiment.answers import CLASSES
from registry import events, version_files
from registry.contract import TensorSpec
from registry.database import open_engine
from registry.decoder import Decoder
from registry.errors import TableError
from registry.gates import GateRow
from registry.tables import outcomes, versions
from registry.versions import Registry
from tests.examples import make_contract, make_logged, passing_record

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
AT = NOW - timedelta(days=3)
STEP = timedelta(microseconds=1)
CLASS_SPEC = {
    "kind": "classification",
    "classes": ["high", "low"],
    "center": 0.0,
    "scale": 1.0,
    "target": "risk",
    "horizon_bars": 0,
    "columns": [],
}
NUMBER_SPEC = CLASS_SPEC | {"kind": "regression", "classes": [], "center": 10.0, "scale": 4.0}
TEXT_SPEC = {"kind": "sentiment", "classes": list(CLASSES), "neutral_band": 0.25}
PRIOR = np.array([0.25, 0.75])
IDENTITY = {"calibrator": "identity", "ece": None, "n_calibration_rows": 0}


def answer(i=0, **changes):
    """A logged row: request `r`, row i."""
    return {
        "request_id": "r",
        "served_at": AT,
        "as_of": AT + i * STEP,
        "model_id": "m",
        "version": 1,
        "flavor": "onnx",
        "backend": "cpu",
        "symbol": str(i),
        "latency_ms": 1.0,
        "features": [0.0],
        "scores": [1.0, -1.0],
        "answer": "{}",
        "source_kind": "rows",
    } | changes


def reported(i=0, value="high", **changes):
    facts = {"model_id": "m", "symbol": str(i), "as_of": AT + i * STEP, "number": 1}
    facts |= {"value": value, "known_at": NOW, "received_at": NOW, "actor": "test"}
    return ReportedOutcome(**facts | changes)


def frame(*rows):
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


@pytest.fixture
def version_of(tmp_path):
    """Make the files of version 1 of a template."""

    def make(template, spec, decoder):
        directory = tmp_path / template
        directory.mkdir()
        contract = make_contract(
            n_scores=len(spec["classes"]) or 1, model_id="m", template=template, label_spec=spec
        )
        record = [row.to_json() for row in passing_record()]
        (directory / version_files.CONTRACT_FILE).write_text(contract.to_json())
        (directory / version_files.RECORD_FILE).write_text(json.dumps(record))
        for name, content in decoder.to_files().items():
            (directory / name).write_bytes(content)
        digests = version_files.digest_directory(directory)
        return version_files.VersionFiles("m", 1, directory, digests)

    return make


@pytest.fixture
def classes(version_of):
    return version_of("tabular", CLASS_SPEC, Decoder(IDENTITY, {"prior": PRIOR}))


# Losses ----------------------------------------------------------------------------------------


def test_the_loss_of_a_class_is_the_log_loss_of_the_logged_scores(classes):
    logged = frame(answer(0), answer(1, scores=[0.5, 2.0]), answer(2))
    found = realised_as_reported(logged, classes, [reported(0, "high"), reported(1, "high")])
    first = -np.log(np.exp(1.0) / (np.exp(1.0) + np.exp(-1.0)))
    second = -np.log(np.exp(0.5) / (np.exp(0.5) + np.exp(2.0)))
    assert found["loss"].to_list() == pytest.approx([first, second], rel=1e-6)
    assert found["baseline_loss"].to_list() == pytest.approx([-np.log(0.25)] * 2)
    assert found["known_at"].to_list() == [NOW, NOW]


def test_the_loss_of_a_number_is_in_units_of_the_targets_variance(version_of):
    facts = {"level": 0.9, "half_width": 1.0, "n_calibration_rows": 9}
    version = version_of("tabular", NUMBER_SPEC, Decoder(facts, {"mean": np.array([11.0])}))
    logged = frame(answer(0, scores=[0.5]))  # 10 + 0.5 * 4 = 12
    found = realised_as_reported(logged, version, [reported(0, 15.0)]).row(0, named=True)
    assert found["y"] == 15.0
    assert found["loss"] == pytest.approx((15.0 - 12.0) ** 2 / 16)
    assert found["baseline_loss"] == pytest.approx((15.0 - 11.0) ** 2 / 16)


@pytest.mark.parametrize(("value", "place"), [("Neutral", 1), (0.9, 2), (-0.3, 0), (0.2, 1)])
def test_the_loss_of_a_text_is_that_of_its_class(version_of, value, place):
    prior = np.array([0.2, 0.5, 0.3])
    version = version_of("sentiment", TEXT_SPEC, Decoder(IDENTITY, {"prior": prior}))
    scores = np.array([0.1, -0.4, 1.2])
    logged = frame(answer(0, scores=scores.tolist()))
    found = realised_as_reported(logged, version, [reported(0, value)]).row(0, named=True)
    expected = -np.log(np.exp(scores[place]) / np.exp(scores).sum())
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert found["baseline_loss"] == pytest.approx(-np.log(prior[place]))


def test_only_the_versions_own_answers_with_an_outcome_that_it_can_read_count(classes):
    logged = frame(answer(0, version=2), answer(1), answer(2), answer(3))
    told = [reported(0), reported(1, "no such class"), reported(2, 3.5), reported(9)]
    assert realised_as_reported(logged, classes, told).is_empty()


def test_reported_values_are_read_as_training_reads_a_column():
    for spec in (CLASS_SPEC, CLASS_SPEC | {"classes": ["1", "2"]}, NUMBER_SPEC):
        for value in ("high", " low ", 1, 1.0, "1", 2.5, "none", "", 1e300):
            column = pl.Series("risk", [value])
            try:
                expected = read_target(column, spec, "")[0]
            except (TableError, pl.exceptions.PolarsError):
                expected = np.nan
            try:
                found = reported_target(value, spec)
            except TableError:
                found = np.nan
            is_text_of_number = spec is NUMBER_SPEC and isinstance(value, str)
            if not is_text_of_number:  # a column of texts is cast, a reported number is none
                assert np.array_equal([found], [expected], equal_nan=True), (spec, value)


def test_labels_of_texts_are_read_as_training_reads_them():
    contract = make_contract(template="sentiment", label_spec=TEXT_SPEC)
    kind = kind_of("sentiment")
    for value in ("positive", "NEGATIVE", 0.0, 1, -1.0, "0.7"):
        expected = read_labels(pl.Series("label", [value]), TEXT_SPEC, "")[0]
        assert kind.reported(contract, value) == expected
    for value in ("good", 1.5, "", "none"):
        with pytest.raises(TableError, match="this is no label; send negative, neutral, positive"):
            kind.reported(contract, value)


# Reports ---------------------------------------------------------------------------------------


@pytest.fixture
def insert(engine):
    """Record a version in the engine database alone."""

    def insert(model_id="m", number=1, template="tabular", spec=CLASS_SPEC):
        contract = make_contract(model_id=model_id, template=template, label_spec=spec)
        row = {
            "model_id": model_id,
            "number": number,
            "run_id": "r" * 32,
            "contract": json.loads(contract.to_json()),
            "digests": {},
            "record": [],
            "may_trade": False,
            "created_at": NOW,
        }
        with engine.begin() as connection:
            connection.execute(versions.insert().values(row))

    return insert


@pytest.fixture
def log(settings):
    opened = PredictionLog(
        settings.predictions_dir, PredictionLogSettings(prediction_log_flush_seconds=60)
    )
    yield opened
    opened.close()


@pytest.fixture
def take(engine, settings, log, insert):
    """Take reports of model m, whose version 1 answered what is logged."""
    insert()
    reporting = Reporting(engine, Registry(settings, engine), log)

    def take(*reports, allows=lambda _: True, now=NOW):
        return reporting.take(reports, allows, "ada", now)

    return take


def append(log, *rows):
    """Log rows, each as a request of its own."""
    for row in rows:
        log.append(make_logged(row))


def by_id(value="high", **changes):
    return OutcomeReport(**{"value": value, "request_id": "r"} | changes)


def by_name(i=0, value="high", **changes):
    named = {"model_id": "m", "symbol": str(i), "as_of": AT + i * STEP, "value": value}
    return OutcomeReport(**named | changes)


def held(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(outcomes).order_by(outcomes.c.symbol)).all()


def test_an_outcome_is_kept_with_the_version_that_answered(take, log, engine):
    append(log, answer(0))
    receipt = take(by_id(known_at=AT + timedelta(hours=1)))
    assert (receipt.accepted, receipt.late, receipt.unknown, receipt.invalid) == (1, 1, (), ())
    [row] = held(engine)
    assert (row.model_id, row.symbol, row.as_of, row.number) == ("m", "0", AT, 1)
    assert (row.value, row.known_at, row.received_at) == ("high", AT + timedelta(hours=1), NOW)
    assert row.actor == "ada"
    [event] = events.read(engine, "m")
    assert (event.kind, event.actor) == ("outcomes_reported", "ada")
    assert event.facts == {"accepted": 1, "late": 1, "unknown": 0, "conflicts": 0}


def test_late_is_more_than_a_day_after_it_was_known(take, log):
    log.append(make_logged(*(answer(i) for i in range(2))))
    exactly = by_name(0, known_at=NOW - LATE_AFTER)
    longer = by_name(1, known_at=NOW - LATE_AFTER - timedelta(seconds=1))
    assert take(exactly, longer).late == 1


def test_saying_it_again_changes_nothing_and_leaves_no_event(take, log, engine):
    append(log, answer(0))
    take(by_id())
    receipt = take(by_id(), by_name(0))
    assert (receipt.accepted, receipt.duplicates, receipt.conflicts) == (0, 2, ())
    assert len(events.read(engine)) == 1


def test_another_value_is_a_conflict_and_the_held_one_stays(take, log, engine):
    append(log, answer(0), answer(1))
    take(by_name(0))
    receipt = take(by_name(0, "low"), by_name(1, "low"), by_name(1, "high"))
    assert [(c.index, c.symbol, c.held) for c in receipt.conflicts] == [
        (0, "0", "high"),
        (2, "1", "low"),
    ]
    assert [row.value for row in held(engine)] == ["high", "low"]
    assert events.read(engine, "m")[-1].facts["conflicts"] == 2


def test_what_is_not_logged_is_kept_where_it_is_named_and_told_where_it_is_not(take, engine):
    receipt = take(by_name(0), by_id(request_id="gone"))
    assert [(u.index, u.is_kept) for u in receipt.unknown] == [(0, True), (1, False)]
    assert receipt.accepted == 1
    assert [row.number for row in held(engine)] == [None]
    assert [(e.model_id, e.facts["unknown"]) for e in events.read(engine)] == [
        ("m", 1),
        (None, 1),
    ]


def test_counts_add_up(take, log):
    log.append(make_logged(*(answer(i) for i in range(3))))
    reports = [
        by_name(0),
        by_name(0),
        by_name(0, "low"),
        by_name(1, "no such class"),
        by_name(7),
        by_id(),
        by_id(symbol="2"),
        by_id(request_id="gone"),
        OutcomeReport("high", model_id="m"),
    ]
    found = take(*reports)
    lost = [each for each in found.unknown if not each.is_kept]
    parts = (found.conflicts, found.invalid, lost)
    assert found.accepted + found.duplicates + sum(map(len, parts)) == len(reports)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (by_id(), "symbol: the request has several answers; name one of them"),
        (OutcomeReport("high", symbol="0"), "expected request_id, or model_id, symbol and as_of"),
        (by_name(0, model_id="../m"), "model_id: no registered model of this name"),
        (by_name(0, "medium"), "value: this is none of the classes; send one of high, low"),
        (
            by_name(0, known_at=NOW + timedelta(hours=1)),
            "known_at: expected a time that is not in the future",
        ),
        (
            by_name(0, known_at=AT - timedelta(hours=1)),
            "known_at: expected a time after that of the prediction",
        ),
        (
            by_id(request_id="long"),
            "symbol: it has more than 200 letters, or a NUL",
        ),
        (
            by_id(request_id="timeless"),
            "the answer has no time, so its outcome cannot be kept",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(take, log, engine, report, reason):
    append(log, answer(0), answer(1))
    append(log, answer(0, request_id="long", symbol="s" * 201))
    append(log, answer(0, request_id="timeless", as_of=None))
    receipt = take(report)
    assert [(each.index, each.reason) for each in receipt.invalid] == [(0, reason)]
    assert held(engine) == [] and events.read(engine) == []


def test_a_key_of_one_model_finds_no_request_of_another(take, log, insert, engine):
    insert("other")
    append(log, answer(0, model_id="other"))
    receipt = take(by_id(), by_name(0, model_id="other"), allows=lambda name: name == "m")
    assert [each.is_kept for each in receipt.unknown] == [False]
    assert [each.reason for each in receipt.invalid] == [
        "model_id: no registered model of this name"
    ]
    assert held(engine) == []


def test_over_bars_any_number_or_class_is_kept(take, log, insert, engine):
    insert("bars", template="trading_signals", spec={"kind": "triple_barrier"})
    append(log, answer(0, model_id="bars", symbol="AAPL"))
    assert take(by_id("BUY")).accepted == 1
    assert held(engine)[0].model_id == "bars"


def test_a_version_that_was_deleted_does_not_keep_its_outcomes_out(take, log, engine):
    append(log, answer(0, version=9))
    assert take(by_id("anything")).accepted == 1


def test_two_writers_at_once_keep_one_value(settings, engine, take, log):
    log.append(make_logged(*(answer(i) for i in range(50))))
    receipts = []

    def write(value):
        own = open_engine(settings)
        reporting = Reporting(own, Registry(settings, own), log)
        reports = [by_name(i, value) for i in range(50)]
        receipts.append(reporting.take(reports, lambda _: True, value, NOW))
        own.dispose()

    threads = [threading.Thread(target=write, args=[value]) for value in ("high", "low")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(receipt.accepted for receipt in receipts) == 50
    assert sum(len(receipt.conflicts) for receipt in receipts) == 50
    assert len(held(engine)) == 50


@pytest.mark.postgres
def test_postgresql_keeps_the_first_value_too(postgres_engine):
    told = [reported(i, value) for i, value in enumerate(["high", 0.5, "low"])]
    with postgres_engine.begin() as connection:
        added, held = keep(connection, told[:2])
    assert (added, held) == ({each.key for each in told[:2]}, {})
    with postgres_engine.begin() as connection:
        added, held = keep(connection, [replace(each, value="other") for each in told])
    assert added == {told[2].key}
    assert held == {told[0].key: "high", told[1].key: 0.5}
    assert read_reported(postgres_engine, "m", AT + STEP)[0] == told[1]


def test_more_outcomes_than_one_statement_takes(take, log, engine):
    assert take(*(by_name(i) for i in range(1201))).accepted == 1201
    receipt = take(*(by_name(i, "low") for i in range(1201)))
    assert len(receipt.conflicts) == 1201
    assert len(read_reported(engine, "m", AT + 1200 * STEP)) == 1


# Finding answers in the log ----------------------------------------------------------------------


@pytest.fixture
def written(settings):
    """Write rows as files, one file per call."""

    def write(*rows):
        opened = PredictionLog(settings.predictions_dir, PredictionLogSettings())
        append(opened, *rows)
        opened.close()

    return write


def test_answers_are_found_on_disk_and_in_memory(written, log):
    written(answer(0, request_id="a"), answer(1, request_id="a"))
    written(answer(2, request_id="b"))
    append(log, answer(3, request_id="c"))
    found = by_request(log, ["m", "no such model"], {"a", "b", "c", "d"})
    assert {key: [each.symbol for each in found[key]] for key in sorted(found)} == {
        "a": ["0", "1"],
        "b": ["2"],
        "c": ["3"],
    }
    assert by_request(log, ["other"], {"a"}) == {}


def test_answers_are_found_while_their_files_are_merged(written, log, monkeypatch):
    """What is listed is gone when it is looked at; the answers are in the merged file."""
    monkeypatch.setattr(logged_answers, "FILES_AT_ONCE", 1)
    for i in range(4):
        written(answer(i, request_id=f"r{i}", served_at=AT - timedelta(days=1)))
    folder, real = ModelFolder(log.directory / "m"), logged_answers.read_files
    merges = iter([True])

    def read(*asked):
        if next(merges, False):
            assert merge_past(folder, AT.date()).is_changed
        return real(*asked)

    monkeypatch.setattr(logged_answers, "read_files", read)
    ids = {f"r{i}" for i in range(4)}
    assert set(by_request(log, ["m"], ids)) == ids


def test_a_damaged_file_ends_no_search(written, log):
    written(answer(0, request_id="a"))
    written(answer(1, request_id="b"))
    max(ModelFolder(log.directory / "m").files()).write_bytes(b"")
    assert set(by_request(log, ["m"], {"a", "b"})) == {"a"}
    assert log.damaged == 1


def test_a_search_ends(written, log, monkeypatch):
    monkeypatch.setattr(logged_answers, "FILES_AT_ONCE", 1)
    for i in range(4):
        written(answer(i, request_id=f"r{i}", served_at=AT + timedelta(days=i)))
    looks = iter([0.0, 1.0, 2.0, 99.0, 99.0])
    monkeypatch.setattr(logged_answers, "monotonic", lambda: next(looks))
    ids = {f"r{i}" for i in range(4)}
    assert len(by_request(log, ["m"], ids)) == 2  # the rest is not looked for any more


def test_of_a_request_id_used_twice_the_newest_counts(written, log):
    written(answer(0, scores=[1.0]), answer(5, served_at=AT + timedelta(hours=1)))
    assert [each.symbol for each in by_request(log, ["m"], {"r"})["r"]] == ["5"]


def test_of_a_time_answered_twice_the_newest_counts(written, log):
    written(answer(0, version=1))
    append(log, answer(0, version=2, served_at=AT + timedelta(hours=1)), answer(1))
    found = by_time(log, "m", {("0", AT), ("0", AT + STEP), ("9", AT)})
    assert {key: each.version for key, each in found.items()} == {("0", AT): 2}


# Drift reports ---------------------------------------------------------------------------------


@pytest.fixture
def watched(settings, engine, version, written):
    """The small world's version over a table: 90 logged rows, with outcomes at hand."""
    contract = replace(
        version.contract,
        template="tabular",
        label_spec=CLASS_SPEC,
        horizon_bars=0,
        outputs=TensorSpec("scores", "float32", (None, 2)),
    )
    (version.directory / version_files.CONTRACT_FILE).write_text(contract.to_json())
    for name, content in Decoder(IDENTITY, {"prior": PRIOR}).to_files().items():
        (version.directory / name).write_bytes(content)
    digests = version_files.digest_directory(version.directory)
    files = version_files.VersionFiles(version.model_id, 1, version.directory, digests)
    mine = {"model_id": files.model_id}
    written(*(answer(i, features=[0.0] * 4, scores=[margin(i), 0.0], **mine) for i in range(90)))

    def watched(values):
        told = [reported(i, value, known_at=AT, **mine) for i, value in enumerate(values)]
        with engine.begin() as connection:
            keep(connection, told)
        return watch(files, settings, engine, None)

    return watched


def margin(i):
    """How much more the row's logits say `high` than `low`."""
    return 3.0 + 0.1 * (i % 7)


def report_of(watched):
    """Return the report of the last window; without a verdict, which spares Evidently's import."""
    no_verdict = MonitoringSettings(drift_min_rows=10_000)
    return judge_window(watched, watched.times[-1], no_verdict)


def test_a_model_that_has_become_wrong_shows_a_fall(watched):
    found = report_of(watched(["low"] * 90)).performance
    newest = [margin(i) for i in range(27, 90)]
    assert found["n_times"] == 63
    assert found["loss"] == pytest.approx(np.mean(np.log1p(np.exp(newest))), rel=1e-5)
    assert found["baseline_loss"] == pytest.approx(-np.log(0.75))
    assert found["fell"] is True
    assert found["new_labelled_bars"] == 0  # a run would read the file again, not the outcomes


def test_a_model_that_is_right_shows_none(watched):
    found = report_of(watched(["high"] * 90)).performance
    newest = [margin(i) for i in range(27, 90)]
    assert found["loss"] == pytest.approx(np.mean(np.log1p(np.exp(-np.array(newest)))), rel=1e-5)
    assert found["fell"] is False


def test_few_outcomes_say_nothing(watched):
    assert report_of(watched(["low"] * 20)).performance["fell"] is None


def test_a_fall_confirms_the_trigger_that_starts_a_run(watched):
    report = replace(report_of(watched(["low"] * 90)), verdict="no_drift")
    seen = VersionReports("m", 1, AT, NOW, [report, report])
    finding = TRIGGERS.get("performance").judge(seen, MonitoringSettings())
    assert finding.level is Level.CONFIRMED


def test_the_validated_excess_is_what_is_expected(watched):
    state = watched(["high"] * 90)
    gate = GateRow(TEMPLATES.get("tabular").excess_gate, -0.3, "<", 0.0)
    (state.version.directory / version_files.RECORD_FILE).write_text(json.dumps([gate.to_json()]))
    digests = version_files.digest_directory(state.version.directory)
    again = replace(state, version=replace(state.version, digests=digests))
    assert report_of(again).performance["expected_excess"] == -0.3
