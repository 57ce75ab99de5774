"""Stage convert: flavors that agree with native or are refused, measured, and registered."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pipelines import convert
from pipelines.parameters import PromotionParameters
from pipelines.stage import exit_with
from registry import version_files
from registry.artifacts import ArtifactCache
from registry.backends import BACKENDS
from registry.database import opened_engine
from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS
from registry.flavors.parity import LIMITS
from registry.gates import GateRow, refusals
from registry.model_store import PACKAGED_FILES
from registry.version_files import CONTRACT_FILE, CURVES_FILE, RECORD_FILE
from registry.versions import Registry

pytestmark = pytest.mark.integration


@pytest.fixture
def registry(made, made_engine):
    return Registry(made.settings, made_engine)


@pytest.fixture
def unconverted(candidate, tmp_path):
    """The candidate with files of its own, as the train stage left them."""
    shutil.copytree(candidate.directory, tmp_path / "version")
    return replace(candidate, directory=tmp_path / "version")


def values_of(record) -> dict[str, tuple]:
    return {row.gate: (row.value, row.comparison, row.limit, row.note) for row in record}


def test_the_stages_by_hand_give_the_record_of_stage_main(registry):
    by_hand, by_main = registry.get("by_hand", 1), registry.get("volatility_forecast", 1)
    assert values_of(by_hand.record) == values_of(by_main.record)


def test_the_stages_by_hand_give_the_model_of_stage_main(registry):
    by_hand, by_main = registry.get("by_hand", 1), registry.get("volatility_forecast", 1)
    for name in ("native/model.ubj", "onnx/model.onnx", "decoder.json", "reference.parquet"):
        assert by_hand.digests[name] == by_main.digests[name]


def test_a_version_made_by_hand_waits_at_staging_and_says_so(made, registry):
    assert registry.aliases("by_hand") == {"staging": 1}
    assert made.said["convert"] == "by_hand version 1: staging\n"
    assert registry.get("by_hand", 1).run_id == made.run_of("validate")


def test_every_flavor_is_written_and_agrees_with_native(unconverted):
    rows, _ = convert.write_flavors(unconverted)
    assert [row.gate for row in rows] == ["parity.native", "parity.onnx"]
    assert all(row.passed for row in rows)
    assert rows[0].value == 0.0
    assert [row.limit for row in rows] == [LIMITS["native"], LIMITS["onnx"]]
    for flavor in FLAVORS:
        name = FLAVORS.get(flavor).file_name(unconverted.contract.native_format)
        assert (unconverted.directory / name).stat().st_size > 0


def test_an_exporter_that_writes_another_model_is_refused(unconverted, registry, monkeypatch):
    onnx = FLAVORS.get("onnx")
    fewer = replace(unconverted.recipe, parameters={**unconverted.recipe.parameters, "rounds": 2})
    other = fewer.fit(unconverted.dataset.rows).native()
    wrong = onnx.write(other, unconverted.contract)
    monkeypatch.setattr(onnx, "write", lambda *_: wrong)
    rows, _ = convert.write_flavors(unconverted)
    (parity,) = [row for row in rows if row.gate == "parity.onnx"]
    assert not parity.passed
    assert parity.value > LIMITS["onnx"]
    sound = registry.get("volatility_forecast", 1).record
    record = [parity if row.gate == "parity.onnx" else row for row in sound]
    assert parity.line() in refusals(record, "serve", "volatility_forecast")


def test_scores_that_are_no_numbers_agree_with_nothing(unconverted, monkeypatch):
    def load(flavor, payload, contract):
        return lambda rows: np.full((len(rows), 1), np.nan, np.float32)

    monkeypatch.setattr(BACKENDS.get("cpu"), "load", load)
    rows, _ = convert.write_flavors(unconverted)
    assert [(row.value, row.passed) for row in rows] == [(np.inf, False), (np.inf, False)]


def test_a_flavor_that_cannot_hold_the_model_is_left_out_with_the_reason(
    unconverted, registry, monkeypatch
):
    def refuse(*_):
        raise UnsupportedModelError("onnx", "xgboost-ubj", "its splits are poems")

    monkeypatch.setattr(FLAVORS.get("onnx"), "write", refuse)
    rows, curves = convert.write_flavors(unconverted)
    (parity,) = [row for row in rows if row.gate == "parity.onnx"]
    assert (parity.value, parity.applicable) == (None, False)
    assert "its splits are poems" in parity.note
    assert {curve.flavor for curve in curves} == {"native"}
    assert not (unconverted.directory / "onnx").exists()
    sound = registry.get("volatility_forecast", 1).record
    record = [parity if row.gate == "parity.onnx" else row for row in sound]
    before = refusals(sound, "serve", "volatility_forecast")
    assert refusals(record, "serve", "volatility_forecast") == before


@pytest.mark.parametrize("flavor", ["native", "onnx"])
def test_a_version_without_a_flavor_is_refused(registry, flavor):
    sound = registry.get("volatility_forecast", 1).record
    record = [row for row in sound if row.gate != f"parity.{flavor}"]
    lines = refusals(record, "serve", "volatility_forecast")
    assert f"parity.{flavor}: missing from the record" in lines


def test_latency_is_measured_for_every_flavor_on_every_backend_that_is_here(made, made_engine):
    files = ArtifactCache(made.settings, made_engine).fetch("volatility_forecast", 1)
    curves = json.loads(files.read(CURVES_FILE))
    here = [BACKENDS.get(b) for b in BACKENDS if not BACKENDS.get(b).unavailable_reason()]
    expected = {(f, b.name) for b in here for f in FLAVORS if f in b.flavors}
    assert {(c["flavor"], c["backend"]) for c in curves} == expected
    for curve in curves:
        assert curve["batch_sizes"] == sorted(curve["batch_sizes"])
        assert len(curve["latency_ms"]) == len(curve["batch_sizes"])
        assert min(curve["latency_ms"]) > 0


def test_the_record_in_the_version_is_the_record_in_the_registry(made, made_engine, registry):
    files = ArtifactCache(made.settings, made_engine).fetch("by_hand", 1)
    stored = [GateRow.from_json(row) for row in json.loads(files.read(RECORD_FILE))]
    assert tuple(stored) == registry.get("by_hand", 1).record


def test_the_digests_gate_covers_what_the_version_was_made_of(registry):
    version = registry.get("volatility_forecast", 1)
    (row,) = [row for row in version.record if row.gate == "digests"]
    assert (row.value, row.passed) == (0.0, True)


def test_storage_that_gives_other_bytes_the_second_time_is_refused():
    first = {"contract.json": "a", "native/model.ubj": "b"}
    row = convert.compare_readings(first, {**first, "native/model.ubj": "c"})
    assert (row.value, row.passed) == (1.0, False)
    assert convert.compare_readings(first, {"contract.json": "a"}).value == 1.0
    assert convert.compare_readings({"contract.json": "a"}, first).value == 1.0


def test_the_files_of_a_version_are_hashed_twice_and_not_again(
    unconverted, installation, monkeypatch
):
    from mlflow import MlflowClient

    hashed: Counter[str] = Counter()

    def count(content: bytes) -> str:
        found = hashlib.sha256(content).hexdigest()
        hashed[found] += 1
        return found

    monkeypatch.setattr(version_files, "sha256", count)
    client = MlflowClient()
    run = client.create_run(client.create_experiment("by_test")).info.run_id
    with opened_engine(installation) as engine:
        registry = Registry(installation, engine)
        version, _ = convert.convert(unconverted, (), run, registry, PromotionParameters())
    times = {name: hashed[digest] for name, digest in version.digests.items()}
    written = {name: times.pop(name) for name in PACKAGED_FILES if name != CONTRACT_FILE}
    assert set(written.values()) == {1}
    assert times.pop(CONTRACT_FILE) == 3  # twice as a file of the candidate, once as packaged
    assert set(times.values()) == {2}


@pytest.mark.parametrize("which", ["train", "unknown"])
def test_a_run_without_a_record_is_one_clear_line(made, capsys, which):
    run_id = made.run_of("train") if which == "train" else "0" * 32
    with pytest.raises(SystemExit) as caught:
        exit_with(lambda: convert.main(["--validate_run", run_id]))
    assert caught.value.code == 2
    line = f"error: run '{run_id}' has no record of a validate run\n"
    assert capsys.readouterr().err == line
