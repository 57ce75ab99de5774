"""A thousand recipes that know nothing of the S&P 500: the search says so and deploys none."""

import json

import pytest

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.trial_family import sampled_data
from pipelines.tuning.asked import Asked, Question
from pipelines.tuning.decision import decide
from pipelines.tuning.known_points import known_points
from pipelines.tuning.parameters import SearchParameters
from pipelines.tuning.search import Search, search
from pipelines.tuning.shared_rows import SharedRows
from pipelines.tuning.studies import KeptStudy, Plan
from pipelines.tuning.untouched import hold_back
from registry import events

N_TRIALS = 1000
ASKED = Asked(
    SourceParameters(symbols="SP500"),
    RecipeParameters("return_forecast", horizon=1, first_test="2014-01-01", seed=7),
    SearchParameters(
        space=json.dumps(
            {"architectures": ["ridge", "lasso", "elastic_net"], "feature_sets": ["returns"]}
        ),
        sampler="random",
        pruner="none",
    ),
)


class Unwritten:
    """Takes what would become MLflow runs."""

    def write(self, trial):
        """Keep nothing."""


@pytest.mark.slow
def test_a_thousand_recipes_without_skill_are_refused(engine, settings, tmp_path):
    question = Question.of(ASKED)
    data = kind_of(question.template).read(ASKED.source, ASKED.recipe, settings)
    held = hold_back(data, question.template, 20, 1)
    study = KeptStudy(tmp_path / "null", "null")
    study.make({}, higher_is_better=False)
    study.join()
    known = known_points(question.space, engine)
    plan = Plan(question.space, "random", "none", ASKED.recipe.seed, known)
    rows, sample = SharedRows(held.search, ASKED.recipe.first_test), sampled_data(held.search)
    todo = Search(study, plan, question.metric, rows, held, sample, engine, "r")
    assert search(todo, N_TRIALS, 0, Unwritten()) == N_TRIALS
    decision = decide(todo, data)
    assert not decision.verdict.found
    assert decision.family.n_trials == N_TRIALS
    assert decision.verdict.of_search.limit == pytest.approx(4.9, abs=0.01)
    assert not events.of_kind(engine, "untouched_looked"), "nothing had to be confirmed"
