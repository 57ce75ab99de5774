"""Inputs: the kinds of data that the rows of a template are made of.

Most templates read bars; others read a table, labelled texts, or the returns of a portfolio's
symbols. A kind of input knows how to read its data, how its rows are laid out, and how to show
that they are causal and the same in serving as in training. What differs between kinds is a fact
or a method here: stages, monitoring and serving ask the kind (`kind_of`) and know no name of one.

Extension point: one file per kind here, one line in `INPUT_KINDS`, one line in docs/sources.md, and
the form of its requests in `serving/`; `tests/conformance/test_inputs.py` then runs on it.

Guarantees of every kind:
- `rows` come sorted by (t0, symbol), with finite labels, and depend on no later data than t1;
- `read` gives the same data, with the same digest, for the same parameters and files;
- whatever is fitted on data (`Template.label_spec`) sees what lies before the first test fold;
- `load` of a version gives the fingerprint that `describe` gave when it was made.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.method.folds import Fold
from pipelines.method.rows import LabelledRows, newest_step
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs.feature_rows import each
from pipelines.recipes.inputs.frames import (
    FrameInputs,
    Schema,
    check_features,
    check_present,
    feature_inputs,
    known_context,
)
from pipelines.templates import TEMPLATES, Arrays, Template
from registry.catalog import Catalog
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import FingerprintMismatchError, TableError
from registry.gates import GateRow
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles

if TYPE_CHECKING:
    from pipelines.recipes.recipe import Recipe


class Data(Protocol):
    """Checked data of one kind: `Bars`, or a table of rows.

    `times` are UTC, one per row of `frame`. `interval`, `price_basis`, `symbols` and `instrument`
    are empty where there are no bars. `note` is a warning that every report repeats, `repairs` are
    one line per kind of repair, `file_sha256` is empty where no upload was read.
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
    @property
    def file_sha256(self) -> str: ...
    @property
    def instrument(self) -> str: ...

    def digest(self) -> str:
        """Return the SHA-256 of what the data say."""
        ...

    def times(self) -> pl.Series:
        """Return the time of each row of `frame`, UTC."""
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
    """The names of a model's inputs: the part of a contract that the kind knows.

    `feature_set` names the definition, `fingerprint` digests what it computes; `min_history` is
    the number of bars that one prediction needs, the newest included (1 where rows stand alone).
    """

    feature_set: str
    feature_names: tuple[str, ...]
    fingerprint: str
    min_history: int


@dataclass(frozen=True, slots=True)
class Definition:
    """The code that turns a request to one version into model inputs.

    `fingerprint` digests what it computes. `features` is what the form of request works with (a
    `FeatureSet`, a `TextEncoder`), None where requests bring the inputs themselves.
    `context_names` are what the template needs besides features to decode, `aliases` other names
    under which a request may give the features' inputs.
    """

    fingerprint: str
    features: Any = None
    context_names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Answering = Callable[[NDArray[np.float32], Mapping[str, NDArray[np.float64]]], object]


class InputKind(Protocol):
    """One kind of input; inherit from it, most of what follows has a default.

    Facts:
        sources: names of the sources that it reads.
        uploaded_as: kind of uploaded data that it reads.
        feature_sets: names that `feature_set` may have.
        has_times: whether a row has a time of its own. Rows without one are logged as they come,
            watched in that order, and new labels are looked for in the files they came from.
        has_outcomes: whether the bars that this engine receives show what became of an answer.
        is_reported: whether only users can tell what became of an answer (POST /outcomes).
        may_miss: whether a feature may be NaN, for architectures that take it.
        may_be_constant: whether a feature may have one value in all rows.
        is_watched: whether a drift of the inputs says anything.
        is_refitted_daily: whether answers age by the day, so that drift is not waited for.
    """

    name: str
    sources: Iterable[str]
    uploaded_as: str
    feature_sets: Iterable[str]
    has_times: bool = True
    has_outcomes: bool = False
    is_reported: bool = False
    may_miss: bool = False
    may_be_constant: bool = False
    is_watched: bool = True
    is_refitted_daily: bool = False

    def check(self, recipe: "Recipe") -> None:
        """Refuse a recipe that rows of this kind cannot be made for; asked before data are read.

        Raises:
            UnknownNameError, ParameterError: a feature set that does not exist or does not fit.
        """
        return

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> Data:
        """Read the data.

        Raises:
            MLEngineError: an unknown source, or data that cannot be used; one line each.
        """
        ...

    def repeated(self, contract: ModelContract, end: datetime) -> dict[str, Json]:
        """Return the source parameters that read a version's data again, with newer data.

        Args:
            end: newest time wanted, where rows have times.
        """
        ...

    def training(self, data: Data) -> Sequence[Any] | pl.DataFrame:
        """Return the data as `Template.label_spec` takes it."""
        ...

    def describe(self, recipe: "Recipe", data: Data, spec: dict[str, Json]) -> Layout:
        """Return the layout of the rows of this recipe."""
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
        """Return about `n_rows` model inputs, spread evenly over the rows."""
        return np.ascontiguousarray(rows.X[spread_evenly(len(rows), n_rows)])

    def sample_context(self, rows: LabelledRows, n_rows: int) -> Arrays:
        """Return what decoding `sample` of the same rows needs beside scores, (n,) each."""
        index = spread_evenly(len(rows), n_rows)
        return {name: values[index] for name, values in rows.context.items()}

    def answer_features(self, rows: LabelledRows) -> NDArray[np.float32]:
        """Return what decoding the rows' out-of-fold scores takes as features, (n, n_features)."""
        return newest_step(rows.X)

    def history(self, data: Data, n_bars: int) -> Arrays:
        """Return a short history that `context_of` computes from, (n,) each.

        Empty where the context of a request is not computed from data.

        Args:
            n_bars: wanted length.
        """
        return {}

    def context_of(self, template: Template, history: Arrays) -> Arrays:
        """Return the context of each entry of a history, (n,) each."""
        return {}

    def files(self, recipe: "Recipe", dataset: Dataset) -> dict[str, bytes]:
        """Return further files by which a version reads requests (a tokenizer): path -> content."""
        return {}

    def checks(self, recipe: "Recipe", dataset: Dataset) -> tuple[GateRow, ...]:
        """Return the gate rows `causality` and `feature_parity`."""
        ...

    def plausible_data(self, dataset: Dataset) -> tuple[GateRow, ...]:
        """Return gate rows that say whether the data know what came later (`plausibility.`)."""
        return ()

    def answers_causality(
        self,
        recipe: "Recipe",
        dataset: Dataset,
        contract: ModelContract,
        decoder: Decoder,
        predict: Predictor,
    ) -> GateRow | None:
        """Return the gate row `causality` of scores and answers.

        None where an answer depends on one row alone, so that none is behind or ahead of it.
        """
        return None

    def look_back(self, recipe: "Recipe") -> int | None:
        """Return the number of bars that a row's inputs depend on, its own included.

        None where rows cannot be cut into combinatorial paths.
        """
        return None

    def reported(self, contract: ModelContract, value: float | str) -> float:
        """Return the `y` of an outcome that a user reports; only of kinds that are reported.

        Raises:
            TableError: the template of this contract has no such outcome.
        """
        raise TableError("outcomes of this kind of input are computed, not reported", self.name)

    def constants(self, spec: Mapping[str, Json], n_rows: int) -> Arrays:
        """Return the context of rows that the label spec alone gives, (n_rows,) each."""
        return {}

    def n_logged(self, contract: ModelContract) -> int:
        """Return the number of features, from the first on, that are logged and watched."""
        return len(contract.feature_names)

    def load(self, contract: ModelContract, read: Callable[[str], bytes]) -> Definition:
        """Load the code and files that read requests to a version.

        Args:
            read: path inside the version -> content, checked; of those that `files` gave.
        """
        ...

    def frame_columns(
        self, contract: ModelContract, definition: Definition, available: Collection[str]
    ) -> tuple[str, ...]:
        """Return the columns that rows of a frame are read from, of those that are there.

        Raises:
            MissingColumnsError: one that is needed is absent.
            ParameterError: a version of this kind is not asked about rows.
        """
        check_present(f"{contract.model_id} (features)", contract.feature_names, available)
        context = known_context(definition.context_names, available)
        return tuple(dict.fromkeys((*contract.feature_names, *context)))

    def check_frame(self, contract: ModelContract, definition: Definition, schema: Schema) -> None:
        """Refuse columns (`frame_columns`) of a type that no row could be read from.

        Raises:
            ColumnTypeError: one of them.
        """
        check_features(contract, definition.context_names, schema)

    def frame_inputs(
        self, contract: ModelContract, definition: Definition, frame: pl.DataFrame
    ) -> FrameInputs:
        """Return model inputs of the rows of a frame, the same as of these rows in a request.

        What is wrong with one row is that row's error.
        """
        return feature_inputs(contract, definition.context_names, frame)

    def entry_inputs(
        self,
        contract: ModelContract,
        definition: Definition,
        entries: Sequence[Any],
        first: int = 0,
    ) -> FrameInputs:
        """Return model inputs of rows or texts as JSON has them, each by itself.

        What is wrong with one entry is that entry's error; `context` belongs to the whole request.

        Args:
            first: number of the first entry, for messages.
        """
        return each(entries, contract, first)

    def used_columns(
        self, template: Template, contract: ModelContract, features: Any, answer: Answering
    ) -> frozenset[str]:
        """Return the bar columns of a request whose newest value changes features or answer.

        Args:
            features: as in the `Definition`.
            answer: features (1, n_features) and context (1,) each -> what is decoded from some
                fixed scores beside them.
        """
        return frozenset()


def spread_evenly(n: int, n_wanted: int) -> NDArray[np.intp]:
    """Return the places of about `n_wanted` of n rows, the first and the last included."""
    return np.linspace(0, n - 1, min(n_wanted, n)).astype(np.intp)


INPUT_KINDS: Catalog[InputKind] = Catalog(
    "input kind",
    {
        "bars": "pipelines.recipes.inputs.bars:KIND",
        "portfolio": "pipelines.recipes.inputs.portfolio:KIND",
        "table": "pipelines.recipes.inputs.table:KIND",
        "texts": "pipelines.recipes.inputs.texts:KIND",
    },
)


def kind_of(template: str | Template) -> InputKind:
    """Return the kind of input of a template, or of the template of this name."""
    known = TEMPLATES.get(template) if isinstance(template, str) else template
    return INPUT_KINDS.get(known.inputs)


def load_definition(files: VersionFiles) -> Definition:
    """Load the code and files that read requests to a version.

    Raises:
        ArtifactError: a file is not what was registered.
        FingerprintMismatchError: this code computes other features than the version's.
    """
    contract = files.contract
    definition = kind_of(contract.template).load(contract, files.read)
    if definition.fingerprint != contract.feature_fingerprint:
        wanted = contract.feature_fingerprint
        raise FingerprintMismatchError(contract.feature_set, wanted, definition.fingerprint)
    return definition
