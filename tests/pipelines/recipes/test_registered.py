"""A registered version validated again: on newer data, against a champion; its record stays."""

import shutil
from dataclasses import replace

import pytest

from pipelines import validate
from pipelines.parameters import JudgementParameters
from pipelines.recipes.registered import newest_source, registered_candidate
from pipelines.replay import train_run_of
from pipelines.validate import ValidateParameters, validate_version
from registry import events, managed_models
from registry.artifacts import ArtifactCache
from registry.database import open_engine
from registry.errors import (
    FingerprintMismatchError,
    ModelArchivedError,
    ParameterError,
    VersionNotFoundError,
)
from registry.settings import PlatformSettings
from registry.versions import Registry

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"
AGAIN = ValidateParameters(model_name=MODEL, version=1)
ALONE = JudgementParameters()


@pytest.fixture
def copied(shared_installation, enter, monkeypatch, tmp_path):
    """A copy of the shared installation, entered: what is recorded in it stays in the copy."""
    place = tmp_path / "copied"
    shutil.copytree(shared_installation.settings.data_dir, place)
    uri = f"sqlite:///{place}/mlflow.db"
    settings = PlatformSettings(data_dir=place, database_url="", mlflow_tracking_uri=uri)
    enter(monkeypatch, settings)
    return settings


@pytest.fixture
def copied_engine(copied):
    engine = open_engine(copied)
    yield engine
    engine.dispose()


@pytest.fixture
def registry(copied, copied_engine):
    return Registry(copied, copied_engine)


@pytest.mark.slow
def test_newer_data_are_judged_and_kept_beside_the_record(copied, copied_engine, registry):
    before = registry.get(MODEL, 1)
    judgement = validate_version(AGAIN, ALONE, copied, copied_engine)
    after = registry.get(MODEL, 1)
    assert (after.record, after.may_trade, after.digests) == (
        before.record,
        before.may_trade,
        before.digests,
    )
    (kept,) = after.validations
    assert kept.record == judgement.record
    assert kept.run_id == judgement.run_id
    assert kept.data_sha256 != before.contract.data.sha256  # the source has bars after 2003
    assert kept.data_end.isoformat() > before.contract.data.end
    measured = {row.gate: row.value for row in kept.record}
    first = {row.gate: row.value for row in before.record}
    assert measured["golden_rows"] == first["golden_rows"]
    assert measured["quality.dm_ewma"] != first["quality.dm_ewma"]
    event = events.read(copied_engine, MODEL)[-1]
    assert (event.kind, event.run_id) == ("validated", judgement.run_id)
    assert event.facts["refusals"] == list(after.refusals("serve"))
    assert train_run_of(judgement.run_id) == train_run_of(before.run_id)


@pytest.mark.slow
def test_a_comparison_with_the_champion_is_made_later(copied, copied_engine, registry):
    cache = ArtifactCache(copied, copied_engine)
    first, files = registry.get(MODEL, 1), cache.fetch(MODEL, 1)
    names = ("contract.json", "validation.json", "MLmodel", "requirements.txt")
    again = shutil.copytree(files.directory, copied.data_dir / "again")
    for name in (*names, "conda.yaml", "python_env.yaml"):
        (again / name).unlink()
    registry.register(again, first.contract, first.record, first.run_id)
    assert "but the record has none" in registry.get(MODEL, 2).refusals("serve", 1)[-1]
    which = replace(AGAIN, version=2)
    wanted = JudgementParameters(champion=1, trigger="data_drift")
    judgement = validate_version(which, wanted, copied, copied_engine)
    (row,) = [row for row in judgement.record if row.gate == "champion.non_inferior"]
    assert (row.against, row.value is None) == (1, False)
    compared = [line for line in registry.get(MODEL, 2).refusals("serve", 1) if "champion" in line]
    assert compared == ([] if row.passed else [row.line()])


def test_what_cannot_be_validated_again_is_refused_before_any_fit(
    copied, copied_engine, registry, monkeypatch
):
    monkeypatch.setattr(validate, "registered_candidate", None)  # never reached
    with pytest.raises(VersionNotFoundError):
        validate_version(replace(AGAIN, version=9), ALONE, copied, copied_engine)
    with pytest.raises(VersionNotFoundError):
        validate_version(AGAIN, JudgementParameters(champion=9), copied, copied_engine)
    with pytest.raises(ParameterError, match="another version than the validated one"):
        validate_version(AGAIN, JudgementParameters(champion=1), copied, copied_engine)
    managed_models.archive(copied_engine, "by_hand", {}, actor="ada")
    with pytest.raises(ModelArchivedError):
        validate_version(replace(AGAIN, model_name="by_hand"), ALONE, copied, copied_engine)
    assert registry.get(MODEL, 1).validations == ()


def test_the_newest_data_are_the_source_without_its_end_or_the_bars_held(made, made_engine):
    files = ArtifactCache(made.settings, made_engine).fetch(MODEL, 1)
    own = newest_source(files, "")
    assert (own.source, own.symbols, own.end) == ("synthetic", "AAA,BBB", "")
    held = newest_source(files, "store")
    assert (held.source, held.symbols, held.interval) == ("store", "AAA,BBB", "1d")
    with pytest.raises(ParameterError, match="read_from='files'"):
        newest_source(files, "files")


def test_features_that_changed_since_are_refused(made, made_engine, monkeypatch):
    from pipelines.recipes import registered

    files = ArtifactCache(made.settings, made_engine).fetch(MODEL, 1)
    monkeypatch.setattr(registered, "fit_folds", None)  # never reached
    kind = registered.kind_of(MODEL)
    described = type(kind).describe
    monkeypatch.setattr(
        type(kind), "describe", lambda *a: replace(described(*a), fingerprint="0" * 64)
    )
    with pytest.raises(FingerprintMismatchError):
        registered_candidate(files, "run", "", made.settings)


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("--train_run", "r", "--model_name", MODEL, "--version", "1"),
        ("--model_name", MODEL),
        ("--version", "1"),
        ("--train_run", "r", "--read_from", "store"),
    ],
    ids=" ".join,
)
def test_one_thing_is_validated(line):
    with pytest.raises(ParameterError, match="train_run"):
        validate.main(list(line))
