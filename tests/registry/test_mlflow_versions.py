"""A registered model that somebody deleted in MLflow: its numbers would start again."""

from pathlib import Path

import pytest

from registry import events
from registry.__main__ import main
from registry.errors import (
    DigestMismatchError,
    NumbersRestartError,
    OtherVersionError,
    VersionExistsError,
    VersionNotFoundError,
)
from registry.mlflow_versions import check_numbers
from registry.model_store import ModelStore
from registry.versions import Registry

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"
WHY = {"actor": "ada", "reason": "a test"}


@pytest.fixture
def client(tracking_uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def numbers_in_mlflow(client):
    return [v.version for v in client.search_model_versions(f"name = '{MODEL}'")]


def made_again(client, run_id, n_versions=1):
    """Give the model's numbers again to versions of another run; return that run."""
    client.delete_registered_model(MODEL)
    client.create_registered_model(MODEL)
    run = client.get_run(run_id)
    other = client.create_run(run.info.experiment_id).info.run_id
    for _ in range(n_versions):
        client.create_model_version(MODEL, f"{run.info.artifact_uri}/none", other)
    return other


def test_a_model_deleted_in_mlflow_is_refused_before_a_fit(registry, register, client):
    register()
    register()
    registry.check_numbers(MODEL)
    registry.check_numbers("a_new_model")
    client.delete_registered_model(MODEL)
    with pytest.raises(NumbersRestartError, match="numbers up to 2 are taken"):
        registry.check_numbers(MODEL)
    with pytest.raises(NumbersRestartError):
        register()
    assert numbers_in_mlflow(client) == []


def test_a_model_that_somebody_made_again_is_refused_too(registry, register, client, run_id):
    register()
    client.delete_registered_model(MODEL)
    client.create_registered_model(MODEL)
    with pytest.raises(NumbersRestartError, match="after all versions recorded here"):
        registry.check_numbers(MODEL)
    made_again(client, run_id)
    with pytest.raises(NumbersRestartError, match="version 1 there is of another run"):
        registry.check_numbers(MODEL)


def test_numbers_of_versions_that_were_deleted_here_are_not_given_again(registry, register, client):
    register()
    registry.delete(MODEL, 1, **WHY)
    registry.check_numbers(MODEL)
    client.delete_registered_model(MODEL)
    with pytest.raises(NumbersRestartError):
        registry.check_numbers(MODEL)


def test_versions_that_were_deleted_one_by_one_are_no_obstacle(registry, register, client):
    register()
    client.delete_model_version(MODEL, "1")
    registry.check_numbers(MODEL)
    assert register().number == 2


def test_a_number_given_again_in_between_leaves_no_orphan(register, client, monkeypatch):
    register()
    client.delete_registered_model(MODEL)
    monkeypatch.setattr(Registry, "check_numbers", lambda *_: None)
    with pytest.raises(VersionExistsError):
        register()
    assert numbers_in_mlflow(client) == []


def test_a_number_of_another_run_is_never_promoted(registry, register, client, run_id, engine):
    register()
    made_again(client, run_id)
    before = events.read(engine)
    with pytest.raises(OtherVersionError, match="another version"):
        registry.promote(MODEL, 1, **WHY)
    with pytest.raises(OtherVersionError):
        registry.set_alias_staging(MODEL, 1)
    assert events.read(engine) == before


def test_a_version_whose_files_serving_refuses_is_not_promoted(registry, register, client, capsys):
    version = register()
    source = client.get_model_version(MODEL, "1").source.removeprefix("models:/")
    folder = client.get_logged_model(source).artifact_location.removeprefix("file://")
    Path(folder, "onnx/model.onnx").write_bytes(b"changed")
    with pytest.raises(DigestMismatchError, match="onnx/model.onnx"):
        registry.promote(MODEL, version.number, **WHY)
    assert registry.alias_state(MODEL).number is None


def test_deleting_here_spares_a_version_of_another_run_there(registry, register, client, run_id):
    register()
    made_again(client, run_id)
    registry.delete(MODEL, 1, **WHY)
    assert numbers_in_mlflow(client) == [1]


def test_an_alias_on_a_number_given_again_is_not_followed(registry, register, client, run_id):
    register()
    made_again(client, run_id)
    client.set_registered_model_alias(MODEL, "production", "1")
    state = registry.resolve_alias(MODEL)
    assert state.number is None
    assert state.refusals == ("digests: version 1 in MLflow is not the one that was registered",)


def test_the_list_never_says_production_of_what_mlflow_has_lost(
    registry, register, client, run_id, settings, tracking_uri, monkeypatch, capsys
):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    register()
    registry.promote(MODEL, 1, **WHY)
    main(["list"])
    assert capsys.readouterr().out.strip().endswith("  production")
    made_again(client, run_id)
    main(["list"])
    assert (
        capsys.readouterr()
        .out.strip()
        .endswith("another version has its number in MLflow, was production")
    )
    client.delete_registered_model(MODEL)
    main(["list"])
    assert capsys.readouterr().out.strip().endswith("deleted in MLflow, was production")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    main(["list"])
    said = capsys.readouterr()
    assert said.out.strip().endswith("  production")
    assert said.err.startswith("only the engine database was asked: MLflow at http://127.0.0.1:9")


def test_the_history_says_what_became_of_a_move_by_hand(
    registry, register, failing, client, settings, monkeypatch, capsys
):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    register()
    register(failing)
    for number in ("1", "2"):
        client.set_registered_model_alias(MODEL, "production", number)
        registry.resolve_alias(MODEL)
    client.delete_registered_model_alias(MODEL, "production")
    registry.resolve_alias(MODEL)
    main(["history", MODEL])
    followed, refused, removed = capsys.readouterr().out.splitlines()[-3:]
    assert followed.endswith("production from none to 1, followed: its serve lock was open")
    assert "production from 1 to 2, not followed: quality.dm_ewma" in refused
    assert removed.endswith(
        "production from 2 to none, not followed: the alias was removed in MLflow"
    )


def test_the_check_costs_nothing_for_a_model_that_was_never_registered(engine):
    check_numbers(engine, ModelStore("http://127.0.0.1:9"), "new")


def test_a_version_deleted_there_is_named(registry, register, client):
    register()
    client.delete_model_version(MODEL, "1")
    with pytest.raises(VersionNotFoundError, match="it was deleted there"):
        registry.promote(MODEL, 1, **WHY)
