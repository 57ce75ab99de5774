import json
import subprocess
import sys
from dataclasses import replace

import pytest
import sqlalchemy as sa

from registry import events, tables
from registry.errors import (
    ForeignTrackingError,
    GateRefusedError,
    ModelNotFoundError,
    NoPreviousVersionError,
    ParameterError,
    RegistryUnavailableError,
    RunNotFoundError,
    VersionExistsError,
    VersionInUseError,
    VersionNotFoundError,
)
from registry.version_files import CONTRACT_FILE, RECORD_FILE
from registry.versions import Registry

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"


def kinds(engine):
    return [event.kind for event in events.read(engine)]


def client_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_a_registered_version_is_read_back_as_it_was_returned(registry, register, engine):
    made = register()
    assert registry.get(MODEL, 1) == made
    assert registry.list_versions(MODEL) == [made]
    assert registry.model_ids() == [MODEL]
    assert (made.number, made.may_trade) == (1, False)
    assert {CONTRACT_FILE, RECORD_FILE, "MLmodel", "native/model.ubj", "onnx/model.onnx"} <= set(
        made.digests
    )
    assert kinds(engine) == ["registered"]


def test_mlflow_shows_what_a_version_is_and_its_verdict(register, tracking_uri):
    register()
    shown = client_of(tracking_uri).get_model_version(MODEL, "1")
    assert shown.tags["template"] == MODEL
    assert shown.tags["serve_lock"] == "open"
    assert shown.tags["may_trade"] == "false"
    assert shown.tags["validation"] == "15 of 15 gates passed"
    assert "survivors only" in shown.description
    assert "Serve lock open" in shown.description
    assert "1990-01-02 to 2006-12-29; fitted on labels until 2006-12-29" in shown.description


def test_mlflow_shows_what_a_model_and_its_aliases_are(register, tracking_uri):
    register()
    shown = client_of(tracking_uri).get_registered_model(MODEL)
    assert f"template `{MODEL}`" in shown.description
    assert "production" in shown.description


def test_the_logged_model_has_a_description_and_parameters(register, tracking_uri):
    register()
    client = client_of(tracking_uri)
    source = client.get_model_version(MODEL, "1").source
    logged = client.get_logged_model(source.removeprefix("models:/"))
    assert "Serve lock open" in logged.tags["mlflow.note.content"]
    assert logged.params["trained_until"] == "2006-12-29"
    assert (logged.params["architecture"], logged.params["max_depth"]) == ("xgboost", "4")


def test_one_mlmodel_names_every_flavor_and_the_pyfunc_loader(register, tracking_uri):
    from mlflow.models import Model

    register()
    model = Model.load(f"models:/{MODEL}/1")
    assert set(model.flavors) == {"python_function", "onnx", "xgboost"}
    assert model.flavors["python_function"]["loader_module"] == "pipelines.pyfunc"
    assert model.flavors["onnx"]["data"] == "onnx/model.onnx"
    assert model.signature.inputs.input_names() == ["return_1", "volatility_5"]


def test_a_refused_candidate_is_registered_with_its_reasons(register, tracking_uri, failing):
    version = register(failing)
    shown = client_of(tracking_uri).get_model_version(MODEL, "1")
    tags = shown.tags
    assert tags["serve_lock"] == "shut"
    assert "    - quality.dm_ewma: " in shown.description
    assert tags["validation"] == "15 of 16 gates passed; not passed: quality.dm_ewma"
    assert json.loads(json.dumps([r.to_json() for r in version.record]))


def test_unknown_models_and_versions_are_named_errors(registry, register):
    with pytest.raises(ModelNotFoundError, match="registered: none"):
        registry.get(MODEL, 1)
    register()
    with pytest.raises(VersionNotFoundError, match="has no version 2; it has: 1"):
        registry.get(MODEL, 2)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "a.b", "-a"])
def test_a_model_name_that_is_no_folder_name_is_refused(registry, register, name):
    with pytest.raises(ParameterError, match="model_name"):
        register(model_id=name)


def test_registering_for_a_run_that_does_not_exist_is_refused(registry, tmp_path, contract, record):
    with pytest.raises(RunNotFoundError, match="0000"):
        registry.register(tmp_path, contract, record, "0000")


def test_registering_in_another_mlflow_is_refused(registry, register, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(ForeignTrackingError):
        register()


def test_an_engine_database_of_another_mlflow_is_noticed(registry, register, engine):
    register()
    with engine.begin() as connection:
        connection.execute(sa.update(tables.versions).values(number=2))
    with pytest.raises(VersionExistsError, match="registered in another MLflow"):
        register()


def test_staging_needs_no_open_lock(registry, register, engine, failing):
    register(failing)
    registry.set_alias_staging(MODEL, 1)
    assert registry.aliases(MODEL) == {"staging": 1}
    assert registry.resolve_alias(MODEL, "staging").number == 1
    assert kinds(engine) == ["registered", "staged"]


def test_a_promotion_moves_alias_history_and_deployment(registry, register, engine):
    register()
    registry.promote(MODEL, 1, actor="ada", reason="first", run_id="r1")
    assert registry.aliases(MODEL) == {"production": 1}
    assert kinds(engine) == ["registered", "promoting", "promoted"]
    assert events.read(engine)[-1].actor == "ada"
    open_one = registry.find_deployment(MODEL)
    assert (open_one.champion, open_one.strategy, open_one.generation) == (1, "direct", 1)
    state = registry.alias_state(MODEL)
    assert (state.number, state.generation, state.pending, state.outside) == (1, 1, None, None)


def test_promoting_the_champion_again_changes_nothing(registry, register, engine):
    register()
    registry.promote(MODEL, 1, actor="ada", reason="first")
    before = events.read(engine)
    registry.promote(MODEL, 1, actor="ada", reason="again")
    assert events.read(engine) == before


def test_promote_refuses_a_shut_serve_lock_and_says_why(registry, register, engine, failing):
    register(failing)
    with pytest.raises(GateRefusedError) as raised:
        registry.promote(MODEL, 1, actor="ada", reason="hope")
    assert raised.value.refusals == ("quality.dm_ewma: -1.2, needs < -1.645",)
    assert registry.aliases(MODEL) == {}
    refused = events.read(engine)[-1]
    assert refused.kind == "promotion_refused"
    assert refused.facts["refusals"] == ["quality.dm_ewma: -1.2, needs < -1.645"]


def test_a_challenger_needs_a_comparison_with_the_champion(registry, register, challenger):
    register()
    register()
    register(challenger)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    with pytest.raises(GateRefusedError, match=r"champion\.better"):
        registry.promote(MODEL, 2, actor="ada", reason="no comparison")
    registry.promote(MODEL, 3, actor="ada", reason="compared")
    assert registry.aliases(MODEL) == {"production": 3}


def test_a_comparison_with_a_former_champion_is_no_evidence(registry, register, challenger):
    register()
    register(challenger)
    register(challenger)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    registry.promote(MODEL, 2, actor="ada", reason="compared")
    with pytest.raises(GateRefusedError, match="measured against version 1, not 2"):
        registry.promote(MODEL, 3, actor="ada", reason="compared with the one before")


def test_a_version_deleted_in_mlflow_is_refused_before_anything_moves(
    registry, register, engine, challenger, tracking_uri
):
    register()
    register(challenger)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    before = [event.id for event in events.read(engine)]
    client_of(tracking_uri).delete_model_version(MODEL, "2")
    with pytest.raises(VersionNotFoundError, match="deleted there; it has: 1"):
        registry.promote(MODEL, 2, actor="ada", reason="better")
    with pytest.raises(VersionNotFoundError, match="deleted there"):
        registry.set_alias_staging(MODEL, 2)
    assert [event.id for event in events.read(engine)] == before
    assert registry.alias_state(MODEL).pending is None


def test_roll_back_passes_over_a_champion_that_was_deleted_in_mlflow(
    registry, register, challenger, tracking_uri
):
    register()
    register(challenger)
    register([*challenger[:-1], replace(challenger[-1], against=2)])
    for number in (1, 2, 3):
        registry.promote(MODEL, number, actor="ada", reason="better")
    client_of(tracking_uri).delete_model_version(MODEL, "2")
    assert registry.roll_back(MODEL, actor="ada", reason="errors").number == 1


def test_roll_back_returns_to_the_champion_before(registry, register, engine, challenger):
    register()
    register(challenger)
    register([*challenger[:-1], replace(challenger[-1], against=2)])
    for number in (1, 2, 3):
        registry.promote(MODEL, number, actor="ada", reason="next")
    assert registry.roll_back(MODEL, actor="ada", reason="errors").number == 2
    assert registry.roll_back(MODEL, actor="ada", reason="errors").number == 1
    assert registry.aliases(MODEL) == {"production": 1}
    assert kinds(engine)[-2:] == ["rolling_back", "rolled_back"]
    with pytest.raises(NoPreviousVersionError):
        registry.roll_back(MODEL, actor="ada", reason="errors")


def test_delete_keeps_the_record_in_the_event_log(registry, register, engine):
    version = register()
    registry.delete(MODEL, 1, actor="ada", reason="obsolete")
    with pytest.raises(ModelNotFoundError):
        registry.get(MODEL, 1)
    deleted = events.read(engine)[-1]
    assert (deleted.kind, deleted.reason) == ("deleted", "obsolete")
    assert deleted.facts["digests"] == version.digests


def test_a_version_in_use_cannot_be_deleted(registry, register):
    register()
    registry.set_alias_staging(MODEL, 1)
    with pytest.raises(VersionInUseError, match="in use as staging"):
        registry.delete(MODEL, 1, actor="ada", reason="obsolete")


def test_looking_up_works_while_mlflow_is_down(settings, engine, register):
    made = register()
    offline = Registry(settings.model_copy(update={"mlflow_tracking_uri": DEAD}), engine)
    assert offline.get(MODEL, 1) == made
    assert offline.alias_state(MODEL).number is None


DEAD = "http://127.0.0.1:1"


@pytest.fixture
def offline(settings, engine, register, monkeypatch):
    register()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    return Registry(settings.model_copy(update={"mlflow_tracking_uri": DEAD}), engine)


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.aliases(MODEL),
        lambda r: r.resolve_alias(MODEL),
        lambda r: r.set_alias_staging(MODEL, 1),
        lambda r: r.promote(MODEL, 1, actor="ada", reason="first"),
        lambda r: r.delete(MODEL, 1, actor="ada", reason="obsolete"),
    ],
    ids=["aliases", "resolve_alias", "set_alias_staging", "promote", "delete"],
)
def test_a_dead_mlflow_is_one_clear_error_and_changes_nothing(offline, engine, call):
    before = events.read(engine)
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        call(offline)
    assert events.read(engine) == before
    assert offline.get(MODEL, 1).number == 1


@pytest.mark.integration
def test_importing_the_registry_imports_neither_mlflow_nor_a_model_library():
    command = (
        "import sys, registry.versions, registry.artifacts; "
        "heavy = {'mlflow', 'torch', 'xgboost', 'onnxruntime', 'pandas', 'alembic'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
