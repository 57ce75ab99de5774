from dataclasses import replace

import pytest

from registry.errors import ModelNotFoundError, ModelNotLoadedError, VersionNotFoundError
from serving.metrics import Metrics
from serving.models import Models

MODEL = "volatility_forecast"


class Files:
    """An artifact cache that has every number of one version's files."""

    def __init__(self, make, directory):
        self.make, self.directory, self.fetched = make, directory, []

    def fetch(self, model_id, number):
        self.fetched.append(number)
        return self.make.files(self.directory, model_id, number)


@pytest.fixture
def cache(make, version_folder):
    return Files(make, version_folder)


@pytest.fixture
def models(cache, loaded):
    made = Models(cache, Metrics(), max_bytes=2 * loaded.n_bytes, is_measured=False)
    made.learn({MODEL: {"production": 1, "staging": 2}})
    return made


def test_before_the_registry_has_answered_a_model_is_unavailable_not_unknown(cache):
    models = Models(cache, Metrics(), max_bytes=0)
    with pytest.raises(ModelNotLoadedError, match="has not answered yet"):
        models.find(MODEL)


def test_an_unknown_model_and_alias_name_what_there_is(models):
    with pytest.raises(ModelNotFoundError, match=MODEL):
        models.find("other")
    with pytest.raises(VersionNotFoundError, match="production, staging"):
        models.number_of(MODEL, "nightly")
    assert models.number_of(MODEL, "staging") == 2


def test_production_is_replaced_and_a_holder_keeps_the_old_one(models, loaded):
    models.serve(loaded)
    held = models.find(MODEL)
    models.serve(replace(loaded, number=2))
    assert models.find(MODEL).number == 2
    assert held.number == 1
    assert held.options[0].predictor is not None


def test_a_problem_is_news_once(models):
    assert models.set_problem(MODEL, "corrupt", 2)
    assert not models.set_problem(MODEL, "corrupt", 2)
    assert models.problem(MODEL).reason == "corrupt"
    models.clear_problem(MODEL)
    assert models.problem(MODEL) is None


def test_versions_on_demand_leave_least_recently_used_first(models, cache):
    for number in (2, 3):
        models.load(MODEL, number)
    assert models.find(MODEL, 2).number == 2
    models.load(MODEL, 4)
    assert [version.number for version in models.on_demand()] == [2, 4]
    assert models.load(MODEL, 2).number == 2
    assert cache.fetched == [2, 3, 4]


def test_a_version_in_production_is_not_loaded_twice(models, loaded, cache):
    models.serve(loaded)
    assert models.load(MODEL, 1) is loaded
    assert cache.fetched == []


def test_a_model_that_left_the_registry_stops_answering(models, loaded):
    models.serve(loaded)
    models.learn({})
    with pytest.raises(ModelNotFoundError):
        models.find(MODEL)


def test_of_an_archived_model_nothing_answers_and_it_is_no_problem(models, loaded):
    models.serve(loaded)
    models.set_problem(MODEL, "corrupt", 2)
    models.learn({MODEL: {"staging": 2}}, frozenset({MODEL}))
    for number in (None, 1, 2):
        with pytest.raises(ModelNotLoadedError, match="it is archived"):
            models.find(MODEL, number)
    with pytest.raises(ModelNotLoadedError, match="it is archived"):
        models.number_of(MODEL, "staging")
    assert models.problems() == {}
    models.learn({MODEL: {"staging": 2}})
    assert models.number_of(MODEL, "staging") == 2


def test_a_model_without_a_version_is_known_and_says_so(models):
    models.learn({"planned": {}})
    with pytest.raises(ModelNotLoadedError, match="it has no version yet"):
        models.find("planned")
    assert models.problems() == {}
