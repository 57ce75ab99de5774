"""The engine database and MLflow are one pair; another MLflow or database is told apart."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from registry import events, tables
from registry.__main__ import main
from registry.database import open_engine
from registry.errors import PairMismatchError
from registry.model_store import ModelStore
from registry.pairing import PAIRED, Pair
from registry.versions import Registry

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"


def identity(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(tables.pairs)).one_or_none()


@pytest.fixture
def pair(engine, tracking_uri):
    return Pair(engine, ModelStore(tracking_uri))


@pytest.fixture
def other_engine(settings, prepared_engine_database, tmp_path):
    """An empty engine database of another installation."""
    (tmp_path / "other").mkdir()
    shutil.copy(prepared_engine_database, tmp_path / "other" / "engine.db")
    opened = open_engine(settings.model_copy(update={"data_dir": tmp_path / "other"}))
    yield opened
    opened.dispose()


@pytest.fixture
def other_uri(prepared_mlflow, tmp_path):
    """An empty MLflow of another installation."""
    shutil.copy(prepared_mlflow, tmp_path / "other_mlflow.db")
    return f"sqlite:///{tmp_path / 'other_mlflow.db'}"


def test_the_first_use_writes_one_identity_into_both(pair, engine, tracking_uri):
    pair.check()
    assert ModelStore(tracking_uri).mark() == identity(engine).identity
    assert identity(engine).is_marked
    assert events.read(engine) == []
    Pair(engine, ModelStore(tracking_uri)).check()


def test_another_mlflow_is_refused_in_one_line(pair, engine, other_uri):
    pair.check()
    with pytest.raises(PairMismatchError) as refused:
        Pair(engine, ModelStore(other_uri)).check()
    assert "\n" not in str(refused.value)
    assert "python -m registry pair --reason" in str(refused.value)
    assert other_uri not in refused.value.for_callers
    assert ModelStore(other_uri).mark() is None


def test_another_engine_database_is_refused(pair, other_engine, tracking_uri):
    pair.check()
    with pytest.raises(PairMismatchError, match="this one is new or older"):
        Pair(other_engine, ModelStore(tracking_uri)).check()
    assert identity(other_engine) is None


def test_two_pairs_crossed_over_are_refused(pair, engine, other_engine, other_uri):
    pair.check()
    Pair(other_engine, ModelStore(other_uri)).check()
    with pytest.raises(PairMismatchError, match="one is of .*, the other of"):
        Pair(engine, ModelStore(other_uri)).check()


def test_a_process_that_knew_the_pair_notices_another_mlflow(pair, tracking_uri, other_uri):
    pair.check()
    mine, other = (Path(uri.removeprefix("sqlite:///")) for uri in (tracking_uri, other_uri))
    shutil.copy(other, mine)
    with pytest.raises(PairMismatchError):
        pair.check()


def test_an_identity_whose_experiment_somebody_deleted_still_counts(pair, engine, tracking_uri):
    from mlflow import MlflowClient

    pair.check()
    client = MlflowClient(tracking_uri=tracking_uri)
    client.delete_experiment(client.get_experiment_by_name("nautilus-ml-engine").experiment_id)
    Pair(engine, ModelStore(tracking_uri)).check()
    ModelStore(tracking_uri).set_mark("another", replace=True)
    assert ModelStore(tracking_uri).mark() == "another"


def test_a_process_that_dies_between_both_is_followed_by_one_that_goes_on(
    engine, tracking_uri, monkeypatch
):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ModelStore, "set_mark", die)
        with pytest.raises(KeyboardInterrupt):
            Pair(engine, ModelStore(tracking_uri)).check()
    begun = identity(engine)
    assert not begun.is_marked
    assert ModelStore(tracking_uri).mark() is None
    Pair(engine, ModelStore(tracking_uri)).check()
    assert ModelStore(tracking_uri).mark() == begun.identity
    assert identity(engine).is_marked


def unpaired(engine, uri):
    """Take the identity away on both sides, as before there was one."""
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.pairs))
    database = sa.create_engine(uri)
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM experiment_tags"))
        connection.execute(sa.text("DELETE FROM experiments WHERE name = 'nautilus-ml-engine'"))
    database.dispose()


def test_an_older_pair_is_adopted_with_an_event(register, engine, tracking_uri):
    register()
    unpaired(engine, tracking_uri)
    Pair(engine, ModelStore(tracking_uri)).check()
    newest = events.read(engine)[-1]
    assert newest.kind == PAIRED
    assert newest.facts["identity"] == ModelStore(tracking_uri).mark()


def test_an_older_database_is_not_adopted_by_an_mlflow_without_its_versions(
    register, engine, tracking_uri, other_uri
):
    register()
    unpaired(engine, tracking_uri)
    with pytest.raises(PairMismatchError, match="no version that is recorded here"):
        Pair(engine, ModelStore(other_uri)).check()
    assert identity(engine) is None
    assert ModelStore(other_uri).mark() is None


def test_nothing_is_written_into_a_foreign_mlflow(
    registry, register, settings, engine, other_uri, monkeypatch
):
    register()
    foreign = Registry(settings.model_copy(update={"mlflow_tracking_uri": other_uri}), engine)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other_uri)
    why = {"actor": "ada", "reason": "a test"}
    before = events.read(engine)
    for work in (
        lambda: foreign.promote(MODEL, 1, **why),
        lambda: foreign.set_alias_staging(MODEL, 1),
        lambda: foreign.delete(MODEL, 1, **why),
        lambda: foreign.withdraw(MODEL, **why),
        lambda: foreign.archive(MODEL, **why),
        foreign.look,
        lambda: foreign.resolve_alias(MODEL),
        lambda: foreign.lost(MODEL),
    ):
        with pytest.raises(PairMismatchError):
            work()
    assert events.read(engine) == before


def test_a_command_pairs_again_after_a_backup_was_restored(
    register, registry, engine, settings, tracking_uri, monkeypatch, capsys
):
    mlflow = Path(tracking_uri.removeprefix("sqlite:///"))
    backup = mlflow.with_suffix(".backup")
    shutil.copy(mlflow, backup)  # from before the first version
    register()
    shutil.copy(backup, mlflow)
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    with pytest.raises(PairMismatchError):
        main(["promote", MODEL, "1", "--reason", "a test"])
    main(["pair", "--actor", "ada", "--reason", "restored"])
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "the engine database and MLflow are a pair now",
        f"{MODEL} version 1: deleted in MLflow",
    ]
    newest = events.read(engine)[-1]
    assert (newest.kind, newest.actor, newest.reason) == (PAIRED, "ada", "restored")
    assert newest.facts["before"]["in_mlflow"] is None
    main(["pair", "--actor", "ada", "--reason", "again"])
    assert "a pair already" in capsys.readouterr().out
    assert events.read(engine)[-1] == newest
