"""Stage convert: flavors that agree with native or are refused, measured, and registered."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pipelines import convert
from pipelines.parameters import FlavorParameters, PromotionParameters
from pipelines.recipes.golden_answers import answers_gate
from pipelines.stage import exit_with
from registry import decoder as decoder_files
from registry import version_files
from registry.artifacts import ArtifactCache
from registry.backends import BACKENDS
from registry.database import opened_engine
from registry.errors import ParameterError, UnreadableArtifactError, UnsupportedModelError
from registry.flavors import FLAVORS, Artifact
from registry.flavors.conversion import conversion
from registry.gates import GateRow, refusals
from registry.model_store import PACKAGED_FILES
from registry.version_files import (
    ANSWERS_FILE,
    CONTRACT_FILE,
    CURVES_FILE,
    RECORD_FILE,
    VersionFiles,
)
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


def test_signals_are_compared_as_they_are_answered(registry):
    rows = {row.gate: row for row in registry.get("trading_signals", 1).record}
    labels = rows["parity.onnx.fp32.labels"]
    assert (labels.comparison, labels.limit) == (">=", 0.999)
    assert labels.passed
    assert "parity.onnx.fp32.labels" not in {
        row.gate for row in registry.get("volatility_forecast", 1).record
    }


@pytest.fixture
def write(unconverted):
    """Write the artifacts of the candidate, all or those of `flavors=`; rows by gate, curves."""

    def run(**changes):
        with conversion() as writing:
            wanted = FlavorParameters(**{"flavors": "onnx"} | changes)
            rows, curves = convert.write_flavors(unconverted, wanted, writing)
        return {row.gate: row for row in rows}, curves

    return run


def test_an_artifact_is_written_and_agrees_with_native(write, unconverted):
    rows, _ = write()
    kept = {name: row for name, row in rows.items() if row.applicable}
    assert set(kept) == {
        *("parity.native.fp32", "parity.native.fp32.extremes"),
        *("parity.onnx.fp32", "parity.onnx.fp32.extremes"),
    }
    assert all(row.passed for row in kept.values())
    assert kept["parity.native.fp32"].value == 0.0
    assert {row.limit for row in kept.values()} == {1e-5}
    assert "against the fitted estimator" in kept["parity.native.fp32"].note
    for name in ("native/model.ubj", "onnx/model.onnx"):
        assert (unconverted.directory / name).stat().st_size > 0


def test_a_native_file_of_another_fit_is_refused(write, unconverted):
    """Scores that agree with themselves are no evidence."""
    parameters = {**unconverted.recipe.parameters, "rounds": 2}
    other = replace(unconverted.recipe, parameters=parameters).fit(unconverted.dataset.rows)
    (unconverted.directory / "native/model.ubj").write_bytes(other.native().payload)
    rows, _ = write()
    assert not rows["parity.native.fp32"].passed
    assert rows["parity.onnx.fp32"].passed


def test_what_is_left_out_has_a_row_that_says_so(write, unconverted):
    rows, curves = write(flavors="native")
    row = rows["parity.onnx.fp32"]
    assert (row.value, row.applicable) == (None, False)
    assert row.note == "not written: flavors=native leaves it out"
    assert {curve.flavor for curve in curves} == {"native"}
    assert not (unconverted.directory / "onnx").exists()


def test_an_exporter_that_writes_another_model_is_refused(
    write, unconverted, registry, monkeypatch
):
    onnx = FLAVORS.get("onnx")
    fewer = replace(unconverted.recipe, parameters={**unconverted.recipe.parameters, "rounds": 2})
    other = fewer.fit(unconverted.dataset.rows).native()
    wrong = onnx.write(other, unconverted.contract)
    monkeypatch.setattr(onnx, "write", lambda *_: wrong)
    rows, _ = write()
    parity = rows["parity.onnx.fp32"]
    assert not parity.passed
    assert parity.value > parity.limit == 1e-5
    sound = registry.get("volatility_forecast", 1).record
    record = [parity if row.gate == parity.gate else row for row in sound]
    assert parity.line() in refusals(record, "serve", "volatility_forecast")


def test_scores_that_are_no_numbers_agree_with_nothing(write, monkeypatch):
    def load(artifact, files, contract):
        return lambda rows: np.full((len(rows), 1), np.nan, np.float32)

    monkeypatch.setattr(BACKENDS.get("cpu"), "load", load)
    rows, _ = write()
    judged = [(row.value, row.passed) for row in rows.values() if row.applicable]
    assert judged == [(np.inf, False)] * 4


def test_a_lower_precision_beyond_its_limit_is_dropped_with_the_reason(
    write, unconverted, monkeypatch
):
    onnx, cpu = FLAVORS.get("onnx"), BACKENDS.get("cpu")
    path = "onnx/fp16/model.onnx"
    whole, load = onnx.write, cpu.load

    def write_half(native, contract, variant="fp32"):
        files = whole(native, contract)
        return {path: files["onnx/model.onnx"]} if variant == "fp16" else files

    def load_half(artifact, files, contract):
        if artifact.variant == "fp32":
            return load(artifact, files, contract)
        predictor = load(Artifact("onnx"), files, contract)
        return lambda rows: predictor(rows) + np.float32(error)

    monkeypatch.setattr(onnx, "variants", ("fp32", "fp16"))
    monkeypatch.setattr(onnx, "write", write_half)
    monkeypatch.setattr(cpu, "load", load_half)
    error = 5e-4
    rows, curves = write()
    assert rows["parity.onnx.fp16"].passed
    assert {(c.flavor, c.variant) for c in curves} >= {("onnx", "fp32"), ("onnx", "fp16")}
    assert (unconverted.directory / path).exists()
    (unconverted.directory / path).unlink()
    error = 0.1
    rows, curves = write()
    row = rows["parity.onnx.fp16"]
    assert (row.value, row.applicable) == (None, False)
    assert row.note.startswith("dropped: parity.onnx.fp16: 0.1")
    assert ("onnx", "fp16") not in {(c.flavor, c.variant) for c in curves}
    assert not (unconverted.directory / path).exists()


def test_a_flavor_that_cannot_hold_the_model_is_left_out_with_the_reason(
    write, unconverted, registry, monkeypatch
):
    def refuse(*_):
        raise UnsupportedModelError("onnx", "xgboost-ubj", "its splits are poems")

    monkeypatch.setattr(FLAVORS.get("onnx"), "write", refuse)
    rows, curves = write()
    parity = rows["parity.onnx.fp32"]
    assert (parity.value, parity.applicable) == (None, False)
    assert parity.note == "not written: its splits are poems"
    assert {curve.flavor for curve in curves} == {"native"}
    assert not (unconverted.directory / "onnx").exists()
    sound = registry.get("volatility_forecast", 1).record
    record = [parity if row.gate == parity.gate else row for row in sound]
    before = refusals(sound, "serve", "volatility_forecast")
    assert refusals(record, "serve", "volatility_forecast") == before


def test_an_artifact_that_its_backend_cannot_read_costs_itself_alone(
    write, unconverted, monkeypatch
):
    cpu = BACKENDS.get("cpu")
    load = cpu.load

    def refuse(artifact, files, contract):
        if artifact.flavor == "onnx":
            raise UnreadableArtifactError("onnx", "operation 'poem' is not known")
        return load(artifact, files, contract)

    monkeypatch.setattr(cpu, "load", refuse)
    rows, curves = write()
    row = rows["parity.onnx.fp32"]
    assert (row.value, row.applicable) == (None, False)
    assert "operation 'poem' is not known" in row.note
    assert {curve.flavor for curve in curves} == {"native"}
    assert not (unconverted.directory / "onnx").exists()


@pytest.mark.parametrize(
    ("flavors", "compress"), [("onyx", ""), ("native,", "int9"), ("onnx onnx", "")]
)
def test_a_flavor_or_compression_that_does_not_exist_is_refused(flavors, compress):
    with pytest.raises(ParameterError, match="separated by commas"):
        FlavorParameters(flavors, compress).artifacts()
        FlavorParameters(flavors, compress).names()


@pytest.mark.parametrize("flavor", ["native", "onnx"])
def test_a_version_without_a_flavor_is_refused(registry, flavor):
    sound = registry.get("volatility_forecast", 1).record
    record = [row for row in sound if row.gate != f"parity.{flavor}.fp32"]
    lines = refusals(record, "serve", "volatility_forecast")
    assert f"parity.{flavor}.fp32: missing from the record" in lines


def test_latency_is_measured_for_every_flavor_on_every_backend_that_is_here(made, made_engine):
    files = ArtifactCache(made.settings, made_engine).fetch("volatility_forecast", 1)
    curves = json.loads(files.read(CURVES_FILE))
    here = [BACKENDS.get(b) for b in BACKENDS if not BACKENDS.get(b).unavailable_reason()]
    expected = {
        (str(artifact), backend.name)
        for backend in here
        for artifact in files.artifacts()
        if artifact.flavor in backend.flavors and not backend.is_reference
    }
    assert {(f"{c['flavor']}.{c['variant']}", c["backend"]) for c in curves} == expected
    for curve in curves:
        assert curve["batch_sizes"] == sorted(curve["batch_sizes"])
        assert len(curve["latency_ms"]) == len(curve["batch_sizes"])
        assert min(curve["latency_ms"]) > 0


def test_the_record_in_the_version_is_the_record_in_the_registry(made, made_engine, registry):
    files = ArtifactCache(made.settings, made_engine).fetch("by_hand", 1)
    stored = [GateRow.from_json(row) for row in json.loads(files.read(RECORD_FILE))]
    assert tuple(stored) == registry.get("by_hand", 1).record


def test_the_golden_answers_of_the_train_run_are_decoded_again(registry):
    for model_id in ("volatility_forecast", "trading_signals"):
        version = registry.get(model_id, 1)
        (row,) = [row for row in version.record if row.gate == "golden_answers"]
        assert (row.value, row.passed) == (0.0, True)
        assert ANSWERS_FILE in version.digests
        assert "digests" not in {gate.gate for gate in version.record}


def test_a_decoder_changed_after_the_train_run_is_refused(unconverted):
    decoder = json.loads((unconverted.directory / decoder_files.JSON_FILE).read_text())
    decoder["bars_per_year"] *= 1.01
    (unconverted.directory / decoder_files.JSON_FILE).write_text(json.dumps(decoder))
    digests = version_files.digest_directory(unconverted.directory)
    row = answers_gate(VersionFiles("any", 0, unconverted.directory, digests))
    assert (row.passed, row.limit) == (False, 0.0)
    assert "volatility_annualised of answer 0 was" in row.note


def test_the_files_of_a_version_are_hashed_once_and_those_of_its_answers_again(
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
        groups = PromotionParameters(), FlavorParameters(flavors="onnx")
        with conversion() as writing:
            version, _ = convert.convert(unconverted, (), run, registry, *groups, writing)
    times = {name: hashed[digest] for name, digest in version.digests.items()}
    written = {name: times.pop(name) for name in PACKAGED_FILES if name != CONTRACT_FILE}
    assert set(written.values()) == {1}
    assert times.pop(CONTRACT_FILE) == 4  # as the next ones, and once as packaged
    decoded = (decoder_files.JSON_FILE, decoder_files.ARRAYS_FILE, ANSWERS_FILE)
    assert [times.pop(name) for name in decoded] == [3, 3, 3]  # by the gate, and before staging
    assert set(times.values()) == {1}


@pytest.mark.parametrize("which", ["train", "unknown"])
def test_a_run_without_a_record_is_one_clear_line(made, capsys, which):
    run_id = made.run_of("train") if which == "train" else "0" * 32
    with pytest.raises(SystemExit) as caught:
        exit_with(lambda: convert.main(["--validate_run", run_id]))
    assert caught.value.code == 2
    line = f"error: run '{run_id}' has no record of a validate run\n"
    assert capsys.readouterr().err == line
