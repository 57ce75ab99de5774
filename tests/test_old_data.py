"""What every release has written is opened, migrated, loaded and answered by this one."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from mlflow.models import Model

from pipelines.pyfunc import _load_pyfunc
from registry import events, trials
from registry.artifacts import ArtifactCache
from registry.database import REVISION, found_revision, open_engine
from registry.version_files import GOLDEN_FILE
from registry.versions import Registry
from serving.loading import load

RELEASES = sorted(path.parent for path in Path(__file__).parent.glob("data/*/engine.sql"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def old_engine(request, settings):
    """The engine database of a release, opened by this code, beside its artifact cache."""
    shutil.copytree(request.param / "cache", settings.cache_dir)
    (settings.data_dir / "engine.db").unlink()
    with sqlite3.connect(settings.data_dir / "engine.db") as connection:
        connection.executescript((request.param / "engine.sql").read_text())
        connection.execute(
            "INSERT INTO trials VALUES (?, 'recipe', 'old_trees', 'run', 0.05, ?)",
            ("family", "2004-01-01 00:00:00.000000"),
        )
    connection.close()
    opened = open_engine(settings)
    yield opened
    opened.dispose()


def test_an_old_database_is_migrated_with_everything_in_it(old_engine, settings):
    assert found_revision(old_engine) == REVISION
    registry = Registry(settings, old_engine)
    for model_id in registry.model_ids():
        version = registry.get(model_id, registry.alias_state(model_id).number)
        assert version.contract.model_id == model_id
        assert registry.find_deployment(model_id).champion == version.number
        kinds = [event.kind for event in events.read(old_engine, model_id)]
        assert kinds == ["registered", "promoting", "promoted"]


def test_trials_of_an_old_database_still_count_and_have_no_returns_yet(old_engine):
    assert trials.known(old_engine, "family") == (1, (0.05,))
    assert trials.known_returns(old_engine, "family") == ()
    series = trials.TrialReturns("recipe", np.arange(3), np.zeros(3))
    trials.keep_returns(old_engine, "family", series)
    assert len(trials.known_returns(old_engine, "family")) == 1


def test_old_versions_load_from_the_cache_and_give_their_recorded_scores(old_engine, settings):
    cache = ArtifactCache(settings, old_engine)
    for model_id in Registry(settings, old_engine).model_ids():
        files = cache.fetch(model_id, 1)
        *_, version = load(files, model_id, 1, is_measured=False)
        assert {option.artifact for option in version.options} == set(files.artifacts())
        with np.load(files.directory / GOLDEN_FILE) as golden:
            for option in version.options:
                np.testing.assert_allclose(
                    option.predictor(golden["features"]), golden["scores"], atol=1e-4
                )


def test_the_pyfunc_loader_answers_for_old_versions(old_engine, settings):
    cache = ArtifactCache(settings, old_engine)
    for model_id in Registry(settings, old_engine).model_ids():
        directory = cache.fetch(model_id, 1).directory
        with np.load(directory / GOLDEN_FILE) as golden:
            answers = _load_pyfunc(str(directory)).predict(golden["features"])
            assert len(answers) == len(golden["features"])
        flavors = Model.load(str(directory)).flavors
        assert flavors["python_function"]["loader_module"] == _load_pyfunc.__module__


def test_at_least_one_release_is_recorded():
    assert RELEASES
