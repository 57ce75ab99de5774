"""Sets of the bench: searched rows and untouched ones, the same for every tool.

Rows of tables have no time. A seed shuffles them, and the last fifth is untouched, so that a split
is the same for a tool that goes by the rows' order. Bars are cut by time: a seed changes nothing
but the draws of a search.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import to_microseconds
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.tuning.untouched import hold_back
from registry.settings import PlatformSettings

Array = NDArray[np.float64]

TABLES = ("breast_cancer", "digits", "wine", "diabetes")
VOLATILITY = "volatility"
SETS = (*TABLES, VOLATILITY)
UNTOUCHED = 0.2
LEAST_DIFFERING = 20
"""Rows in which a column must differ from its most frequent value; others tell nothing."""
TARGET = "target"
STOCK = "AAPL"
"""One of the 20 bundled stocks: as much as half a minute of one core can search."""
METRICS = {"classes": "log_loss", "number": "rmse", "variance": "qlike"}


@dataclass(frozen=True, slots=True)
class Rows:
    """One set, cut in two.

    `kind` is classes, number or variance. `X` (n, n_features), `y` (n,) are searched, `X_test`,
    `y_test` are not. A class is its number; a variance is relative to EWMA(0.94), cut in `y` as
    our fits take it and as it is in `y_test`.
    """

    name: str
    kind: str
    X: Array
    y: Array
    X_test: Array
    y_test: Array

    def arrays(self) -> dict[str, Any]:
        """Return what a peer is given: nothing of the untouched rows but their features."""
        return {"kind": self.kind, "X": self.X, "y": self.y, "X_test": self.X_test}


def rows_of(name: str, seed: int, settings: PlatformSettings) -> Rows:
    """Return a set as this seed cuts it."""
    return _volatility(settings) if name == VOLATILITY else _table(name, seed)


def table(name: str, seed: int) -> pl.DataFrame:
    """Return a bundled table in the order of a seed, the column `target` last."""
    X, y = _loader(name)(return_X_y=True)
    most = (np.median(column) for column in X.T)
    differing = [int((column != value).sum()) for column, value in zip(X.T, most, strict=True)]
    columns = {f"x{i}": X[:, i] for i, n in enumerate(differing) if n >= LEAST_DIFFERING}
    order = np.random.default_rng(seed).permutation(len(y))
    return pl.DataFrame({**columns, TARGET: y})[order.tolist()]


def _loader(name: str) -> Callable[..., Any]:
    from sklearn import datasets

    return partial(getattr(datasets, f"load_{name}"))


def _table(name: str, seed: int) -> Rows:
    frame = table(name, seed)
    X = frame.drop(TARGET).to_numpy().astype(np.float64)
    y = frame[TARGET].to_numpy().astype(np.float64)
    cut = len(y) - int(np.ceil(UNTOUCHED * len(y)))
    kind = "number" if name == "diabetes" else "classes"
    return Rows(name, kind, X[:cut], y[:cut], X[cut:], y[cut:])


def asked_of(name: str, path: str, seed: int) -> tuple[SourceParameters, RecipeParameters]:
    """Return data and recipe of our search; `path`: the file of a table."""
    threads = json.dumps({"nthread": 1})
    if name == VOLATILITY:
        return SourceParameters(symbols=STOCK), RecipeParameters(parameters=threads, seed=seed)
    task = "regression" if name == "diabetes" else "classification"
    options = json.dumps({"target": TARGET, "task": task})
    recipe = RecipeParameters("tabular", parameters=threads, options=options, seed=seed)
    return SourceParameters(source="files", path=path), recipe


def _volatility(settings: PlatformSettings) -> Rows:
    source, wanted = asked_of(VOLATILITY, "", 0)
    recipe = Recipe.resolve(wanted)
    data = kind_of(recipe.template).read(source, wanted, settings)
    held = hold_back(data, recipe.template, round(100 * UNTOUCHED), recipe.horizon_bars)
    searched = make_dataset(recipe, held.search)
    rows = kind_of(recipe.template).rows(recipe, data, searched.label_spec)
    test = rows.take(rows.t0 >= to_microseconds(held.start))
    train = searched.rows.take(searched.rows.fit)
    ratio = test.y / test.context["ewma_variance"]
    return Rows(
        VOLATILITY,
        "variance",
        train.X.astype(np.float64),
        train.target,
        test.X.astype(np.float64),
        ratio,
    )
