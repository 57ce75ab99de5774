"""Inputs: what the rows of a template are made of.

Most templates read bars; others read a table, labelled texts, or the returns of a portfolio's
symbols. A kind of input knows how to read its data, how its rows are laid out, and how to show
that they are causal and the same in serving as in training.

Extension point: one file per kind here, one line in `INPUTS`, one line in docs/sources.md.

Guarantees of every kind:
- `rows` come sorted by (t0, symbol), with finite labels, and depend on no later data than t1;
- `read` gives the same data, with the same digest, for the same parameters and files;
- whatever is fitted on data (`Template.label_spec`) sees what lies before the first test fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.folds import Fold
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters, SourceParameters
from registry.catalog import Catalog
from registry.contract import Json
from registry.gates import GateRow
from registry.settings import PlatformSettings

if TYPE_CHECKING:
    from pipelines.recipes.recipe import Recipe


class Data(Protocol):
    """Checked data of one kind: `Bars`, or a table of rows.

    `frame` has a column `timestamp` (UTC). `interval`, `price_basis` and `symbols` are empty where
    there are no bars. `note` is a warning that every report repeats, `repairs` are one line per
    kind of repair.
    """

    @property
    def frame(self) -> pl.DataFrame: ...
    @property
    def source(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def price_basis(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def repairs(self) -> tuple[str, ...]: ...
    @property
    def symbols(self) -> tuple[str, ...]: ...

    def digest(self) -> str:
        """Return the SHA-256 of what the data say."""
        ...

    def span(self) -> tuple[datetime, datetime]:
        """Return the first and the last time."""
        ...

    def between(self, start: datetime | None, end: datetime | None) -> "Data":
        """Return the rows with start <= timestamp <= end; None leaves a side open."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data turned into labelled rows and folds for one recipe.

    The first fold tests from `first_test` on; what the label took from data lies before it.
    """

    data: Data
    rows: LabelledRows
    folds: tuple[Fold, ...]
    label_spec: dict[str, Json]
    first_test: datetime


@dataclass(frozen=True, slots=True)
class Layout:
    """What a model's inputs are called: the part of a contract that the kind knows.

    `feature_set` names the definition, `fingerprint` digests what it computes; `min_history` is
    the number of bars that one prediction needs, the newest included (1 where rows stand alone).
    """

    feature_set: str
    feature_names: tuple[str, ...]
    fingerprint: str
    min_history: int


class InputKind(Protocol):
    """One kind of input."""

    name: str

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> Data:
        """Read the data.

        Raises:
            MLEngineError: an unknown source, or data that cannot be used; one line each.
        """
        ...

    def training(self, data: Data) -> Sequence[Any] | pl.DataFrame:
        """Return the data as `Template.label_spec` takes it."""
        ...

    def describe(self, recipe: "Recipe", data: Data, spec: dict[str, Json]) -> Layout:
        """Return how the rows of this recipe are laid out."""
        ...

    def rows(
        self, recipe: "Recipe", data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return the rows of the recipe.

        Args:
            keep_unlabelled: also return rows whose label is not complete yet (y and target NaN,
                t1 = -1, fit false).

        Raises:
            MLEngineError: the data lack what the recipe needs, or leave no row.
        """
        ...

    def sample(self, rows: LabelledRows, n_rows: int) -> NDArray[np.float32]:
        """Return about `n_rows` model inputs spread evenly over the rows."""
        ...

    def checks(self, recipe: "Recipe", dataset: Dataset) -> tuple[GateRow, ...]:
        """Return the gate rows `causality` and `feature_parity`."""
        ...


@runtime_checkable
class Carrying(Protocol):
    """A kind whose versions need further files to read a request (a tokenizer)."""

    def files(self, recipe: "Recipe", dataset: Dataset) -> dict[str, bytes]:
        """Return path inside the version -> content."""
        ...


INPUTS: Catalog[InputKind] = Catalog(
    "input kind",
    {
        "bars": "pipelines.recipes.inputs.bars:INPUTS",
        "portfolio": "pipelines.recipes.inputs.portfolio:INPUTS",
        "table": "pipelines.recipes.inputs.table:INPUTS",
        "texts": "pipelines.recipes.inputs.texts:INPUTS",
    },
)


def spread(rows: LabelledRows, n_rows: int) -> NDArray[np.float32]:
    """Return the inputs of about `n_rows` rows spread evenly over time."""
    index = np.linspace(0, len(rows) - 1, min(n_rows, len(rows))).astype(np.intp)
    return np.ascontiguousarray(rows.X[index])
