"""What every release has written is opened, migrated, loaded and answered by this one."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from mlflow.models import Model

from pipelines.data.bars import from_microseconds
from pipelines.pyfunc import _load_pyfunc
from pipelines.recipes.recipe import Recipe
from registry import events, tables, trials
from registry.artifacts import ArtifactCache
from registry.contract import ModelContract
from registry.database import REVISION, found_revision, open_engine
from registry.trial_data import untold
from registry.version_files import GOLDEN_FILE
from registry.versions import Registry
from serving.loading import load

RELEASES = sorted(path.parent for path in Path(__file__).parent.glob("data/*/engine.sql"))


def old_trials(connection):
    """Trials as 0.1.0 counted them: of the family of a registered version, and of none."""
    contract = json.loads(
        connection.execute("SELECT contract FROM versions WHERE model_id = 'old_trees'").fetchone()[
            0
        ]
    )
    facts = (contract[name] for name in ("template", "label_spec", "cost_spec", "symbols"))
    registered = trials.family_key(*facts)
    return [
        (registered, "recipe", "old_trees", "run", "2004-01-01 00:00:00.000000"),
        ("family", "another", "nobody's", "run", "2005-01-01 00:00:00.000000"),
    ]


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def old_engine(request, settings):
    """The engine database of a release, opened by this code, beside its artifact cache."""
    shutil.copytree(request.param / "cache", settings.cache_dir)
    (settings.data_dir / "engine.db").unlink()
    with sqlite3.connect(settings.data_dir / "engine.db") as connection:
        connection.executescript((request.param / "engine.sql").read_text())
        connection.executemany(
            "INSERT INTO trials VALUES (?, ?, ?, ?, 0.05, ?)", old_trials(connection)
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


def contract_of(engine, model_id):
    with engine.connect() as connection:
        table = tables.versions
        query = sa.select(table.c.contract).where(table.c.model_id == model_id)
        return ModelContract.from_json(json.dumps(connection.scalar(query)))


def test_trials_of_an_old_database_are_kept_with_what_is_known_of_their_data(old_engine):
    registered, nameless = trials.known(old_engine, "volatility_forecast")
    assert (registered.recipe, registered.sharpe_per_period) == ("recipe", 0.05)
    (data,) = trials.known_data(old_engine, [registered.data_sha256])
    contract = contract_of(old_engine, "old_trees")
    assert (data.names, data.interval) == (contract.symbols, contract.interval)
    assert f"{from_microseconds(data.last):%F}" == contract.data.end
    assert (nameless.family, nameless.data_sha256) == ("family", None)
    assert [t.family for t in trials.known(old_engine, "another question")] == ["family"]
    assert trials.known_returns(old_engine, [registered.id]) == {}
    trials.keep_returns(
        old_engine, registered.id, trials.TrialReturns("recipe", np.arange(3), np.zeros(3))
    )
    assert len(trials.known_returns(old_engine, [registered.id])) == 1


def test_the_recipe_of_an_old_trial_is_no_new_trial(old_engine):
    contract = contract_of(old_engine, "old_trees")
    recipe = Recipe.of_contract(contract)
    earlier = recipe.counted_before(contract.label_spec, contract.symbols)
    assert earlier[0] == trials.known(old_engine, "volatility_forecast")[0].family
    data = untold("newer", contract.symbols, contract.interval, 0, 10)
    ours = trials.Trial(
        "volatility_forecast", recipe.digest(), "old_trees", "run", data, 0,
        earlier=(earlier[0], "recipe"),
    )  # fmt: skip
    trials.count(old_engine, ours)
    found = trials.known(old_engine, "volatility_forecast")
    assert {t.recipe for t in found} == {ours.recipe, "another"}


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
