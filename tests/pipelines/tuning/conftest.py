import json
from collections.abc import Callable

import pytest

from pipelines.parameters import RecipeParameters
from pipelines.tuning.asked_space import search_space
from pipelines.tuning.studies import KeptStudy, Plan

RidgeStudy = Callable[[list[float]], tuple[KeptStudy, Plan]]


@pytest.fixture
def ridge_study(tmp_path) -> RidgeStudy:
    """Make a study `s` of one ridge per alpha, joined, and return it with its plan."""

    def make(alphas: list[float]) -> tuple[KeptStudy, Plan]:
        asked = {"architectures": ["ridge"], "parameters": {"ridge": {"alpha": alphas}}}
        space = search_space(json.dumps(asked), RecipeParameters("return_forecast"))
        study = KeptStudy(tmp_path / "s", "s")
        study.make({}, higher_is_better=False)
        study.join()
        return study, Plan(space, "grid", "none", 0, space.grid(0))

    return make
