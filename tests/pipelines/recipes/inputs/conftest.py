"""Small files of a table and of texts, and what the stages make of them before MLflow."""

from dataclasses import dataclass

import pytest

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.recipe import Recipe, fit_decoders, fit_folds
from pipelines.templates import Evaluation


@dataclass(frozen=True)
class Made:
    recipe: Recipe
    dataset: Dataset
    evaluation: Evaluation
    decoder: object
    oof: object


@pytest.fixture
def write(tmp_path):
    def written(frame, name="table.csv") -> SourceParameters:
        path = tmp_path / name
        frame.write_parquet(path) if name.endswith("parquet") else frame.write_csv(path)
        return SourceParameters(source="files", path=str(path))

    return written


@pytest.fixture
def make():
    def made(source, **wanted) -> Made:
        recipe, dataset = read_dataset(source, RecipeParameters(**wanted), None)
        oof = fit_folds(recipe, dataset.rows, dataset.folds)
        decoders = fit_decoders(recipe, dataset.rows, dataset.folds, oof)
        spec = dataset.label_spec
        found = recipe.template.evaluate(oof, decoders, spec, "")
        return Made(recipe, dataset, found, recipe.fit_decoder(oof, dataset.rows), oof)

    return made
