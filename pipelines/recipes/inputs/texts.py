"""Inputs `texts`: labelled texts of a file, or our own sentences, as an encoder's numbers.

The architecture names the encoder (`Architecture.text_encoder`,
`pipelines/data/texts/text_encoders.py`). An architecture that names none gets hashed words.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from pipelines.data.tables.row_data import (
    RowData,
    label_ends,
    microseconds,
    names_of_places,
    place_in_time,
    timed,
)
from pipelines.data.tables.table_columns import cleaned
from pipelines.data.texts import sample_texts
from pipelines.data.texts.text_encoders import (
    DEFAULT,
    ENCODERS,
    N_LEXICON,
    TOKENIZER_FILE,
    WORDS_FILE,
    TextEncoder,
    files_of,
    fingerprint,
    make,
    numbers_of_words,
)
from pipelines.method.agreement import difference
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import Data, Dataset, Definition, Layout
from pipelines.recipes.inputs.frames import FrameInputs, Schema, check_present, is_text
from pipelines.recipes.inputs.origins import FromFiles
from pipelines.recipes.recipe import Recipe
from pipelines.templates.sentiment import read_labels
from pipelines.templates.sentiment.answers import CLASSES
from registry.contract import Json, ModelContract
from registry.errors import (
    ColumnTypeError,
    MLEngineError,
    ParameterError,
    ShapeError,
    TableError,
)
from registry.gates import COMMON, GateRow
from registry.settings import PlatformSettings

SAMPLE_NOTE = (
    "sentences written for this repository, short and clear, by the authors of the lexicon: they "
    "show that the parts fit together, not how good a model is on your texts"
)
N_CHECKED = 64
TEXT = "text"
MAX_CHARACTERS = 20_000
"""Of one text; news stories are a tenth of that."""


class TextInputs(FromFiles):
    """Rows of encoded texts; hashed words have a column per word, most of which no text has."""

    name = "texts"
    sources = ("files", "data", "sample")
    uploaded_as = "texts"
    feature_sets = ENCODERS
    may_be_constant = True

    def check(self, recipe: Recipe) -> None:
        """Refuse an encoder that does not exist, or that the architecture cannot take."""
        encoder_of(recipe)

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> RowData:
        """Read files, or the sample sentences.

        Raises:
            ParameterError: another source than `files`, `data` and `sample`.
            TableError, BarsError: files that cannot be used.
        """
        return sample() if source.source == "sample" else super().read(source, wanted, settings)

    def describe(self, recipe: Recipe, data: Data, spec: dict[str, Json]) -> Layout:
        """Return names and fingerprint of the encoder."""
        encoder = encoder_of(recipe)
        return Layout(encoder.name, encoder.feature_names, fingerprint(encoder), 1)

    def rows(
        self, recipe: Recipe, data: Data, spec: dict[str, Json], *, keep_unlabelled: bool = False
    ) -> LabelledRows:
        """Return the rows with a text and a label.

        Raises:
            TableError: a label that cannot be read.
        """
        frame = data.frame.filter(cleaned(data.frame[str(spec["text"])]).is_not_null())
        y = read_labels(frame[str(spec["label"])], spec, data.source)
        if not keep_unlabelled:
            frame, y = frame.filter(np.isfinite(y)), y[np.isfinite(y)]
        encoder = encoder_of(recipe)
        t0 = microseconds(frame)
        t1 = label_ends(t0, int(cast(int, spec["horizon_bars"])))
        place = place_in_time(t0)
        target, fit = recipe.template.target(y, {})
        texts = frame[str(spec["text"])].cast(pl.String).to_list()
        return LabelledRows(
            X=encoder.encode(texts),
            y=y,
            target=target,
            context={},
            outcome={},
            symbol=place,
            symbols=names_of_places(place),
            t0=t0,
            t1=np.where(np.isfinite(y), t1, -1),
            fit=fit,
            spec=spec,
        )

    def files(self, recipe: Recipe, dataset: Dataset) -> dict[str, bytes]:
        """Return the tokenizer, or of hashed words which words the texts have."""
        if encoder_of(recipe).name != "words":
            return files_of_architecture(recipe)
        column = cleaned(dataset.data.frame[str(dataset.label_spec["text"])]).drop_nulls()
        return {WORDS_FILE: numbers_of_words(column.cast(pl.String).to_list()).tobytes()}

    def checks(self, recipe: Recipe, dataset: Dataset) -> tuple[GateRow, ...]:
        """Encode texts alone, and by the encoder that a server makes of the contract."""
        spec, encoder = dataset.label_spec, encoder_of(recipe)
        column = cleaned(dataset.data.frame[str(spec["text"])]).drop_nulls().cast(pl.String)
        chosen = np.linspace(0, len(column) - 1, min(N_CHECKED, len(column))).astype(int)
        texts = [column[int(i)] for i in chosen]
        together = encoder.encode(texts)
        alone = np.concatenate([encoder.encode([text]) for text in texts])
        served = make(encoder.name, len(encoder.feature_names), self.files(recipe, dataset))
        note = f"{len(texts)} texts alone against all of them together"
        return (
            COMMON.row("causality", difference(together, alone), note),
            COMMON.row(
                "feature_parity",
                difference(together, served.encode(texts)),
                f"{len(texts)} texts: the encoder of training against the one that serving makes",
            ),
        )

    def reported(self, contract: ModelContract, value: float | str) -> float:
        """Return the class number of a class or of a score from -1 to 1."""
        classes = ", ".join(CLASSES)
        try:
            y = float(read_labels(pl.Series("value", [value]), contract.label_spec, "")[0])
        except TableError:
            y = float("nan")
        if not np.isfinite(y):
            hint = f"send {classes}, or a score from -1 to 1"
            raise TableError("this is no label", "", hint)
        return y

    def n_logged(self, contract: ModelContract) -> int:
        """Return those of the lexicon's columns; none of tokens.

        Single words are too many to watch, and the number of a token is no quantity.
        """
        n_features = len(contract.feature_names)
        watched = {"words": min(N_LEXICON, n_features), "tokens": 0}
        return watched.get(contract.feature_set, n_features)

    def frame_columns(
        self, contract: ModelContract, definition: Definition, available: Collection[str]
    ) -> tuple[str, ...]:
        """Return the column of the texts: that of training, else `text`.

        Raises:
            MissingColumnsError: neither is there.
        """
        name = text_column(contract, available)
        check_present(contract.model_id, (name,), available)
        return (name,)

    def check_frame(self, contract: ModelContract, definition: Definition, schema: Schema) -> None:
        """Refuse a column that holds no texts."""
        name = text_column(contract, schema)
        if not is_text(schema[name]):
            raise ColumnTypeError(name, "texts", str(schema[name]))

    def frame_inputs(
        self, contract: ModelContract, definition: Definition, frame: pl.DataFrame
    ) -> FrameInputs:
        """Encode the texts; one that is missing, blank or too long makes its row's error."""
        name = text_column(contract, frame.columns)
        texts = frame[name].cast(pl.String).to_list()
        return _encoded(texts, [name] * len(texts), definition)

    def entry_inputs(
        self,
        contract: ModelContract,
        definition: Definition,
        entries: Sequence[Any],
        first: int = 0,
    ) -> FrameInputs:
        """Encode texts, which may have ids."""
        places = [f"texts[{first + i}]" for i in range(len(entries))]
        texts = [text_entry(entry, first + i)[1] for i, entry in enumerate(entries)]
        return _encoded(texts, places, definition)

    def load(self, contract: ModelContract, read: Callable[[str], bytes]) -> Definition:
        """Return the encoder, made with the version's own files."""
        files = {name: read(name) for name in files_of(contract.feature_set)}
        encoder = make(contract.feature_set, len(contract.feature_names), files)
        return Definition(fingerprint(encoder), encoder)


def text_column(contract: ModelContract, available: Collection[str]) -> str:
    """Return the column of the texts in other data: that of training if it is there."""
    trained = str(contract.label_spec.get("text", TEXT))
    return trained if trained in available else TEXT


def text_entry(entry: Any, number: int) -> tuple[str, Any]:
    """Return key and text of an entry; the key of a bare text is its number.

    Raises:
        ParameterError: it is neither a text nor an object with id and text.
    """
    if not isinstance(entry, dict):
        return str(number), entry
    if set(entry) != {"id", "text"} or not isinstance(entry["id"], str) or not entry["id"]:
        found = ", ".join(sorted(map(str, entry)))
        raise ParameterError(f"texts[{number}]", found, "a text, or an object with id and text")
    return entry["id"], entry["text"]


def text_problem(text: object, where: str) -> MLEngineError | None:
    """Return why a text cannot be answered; None where it can."""
    if not isinstance(text, str):
        return ParameterError(where, text, "a text")
    if not text.strip():
        return ParameterError(where, text, "a text with at least one letter")
    if len(text) > MAX_CHARACTERS:
        return ShapeError(where, f"at most {MAX_CHARACTERS} characters", str(len(text)))
    return None


def _encoded(texts: Sequence[Any], places: Sequence[str], definition: Definition) -> FrameInputs:
    problems = map(text_problem, texts, places)
    errors = {row: problem for row, problem in enumerate(problems) if problem is not None}
    rows = [row for row in range(len(texts)) if row not in errors]
    known, encoder = [texts[row] for row in rows], cast(TextEncoder, definition.features)
    X = np.ascontiguousarray(encoder.encode(known), dtype=np.float32)
    context = {"coverage": encoder.coverage(known)}
    return FrameInputs(np.array(rows, dtype=np.intp), X, context, errors)


def files_of_architecture(recipe: Recipe) -> dict[str, bytes]:
    """Return the files of the recipe's architecture that its encoder needs."""
    tokenizer = tokenizer_of(recipe)
    return {} if tokenizer is None else {TOKENIZER_FILE: tokenizer}


def sample() -> RowData:
    """Return our own labelled sentences; they have no times."""
    frame = pl.DataFrame(sample_texts.rows(), schema=["text", "label"], orient="row")
    data, _ = timed(frame, "", where="sample")
    return RowData(data.frame, "sample", f"{SAMPLE_NOTE}; {data.note}")


def encoder_of(recipe: Recipe) -> TextEncoder:
    """Return the encoder asked for, or the one that the architecture needs.

    Raises:
        ParameterError: a name that no encoder has, or one the architecture cannot take.
    """
    own = recipe.architecture.text_encoder
    asked = recipe.feature_set or own or DEFAULT
    if (own and asked != own) or (not own and asked == "tokens"):
        expected = f"{own or 'words or lexicon'} for {recipe.architecture.name}"
        raise ParameterError("feature_set", asked, expected)
    if asked == "tokens":
        n_features = int(cast(int, recipe.parameters["max_tokens"]))
    else:
        n_features = N_LEXICON + int(cast(int, recipe.options["width"]))
    return make(asked, n_features, files_of_architecture(recipe))


def tokenizer_of(recipe: Recipe) -> bytes | None:
    """Return the content of the transformer's tokenizer file; None for other architectures.

    Raises:
        ParameterError: the directory has none.
    """
    if recipe.architecture.text_encoder != "tokens":
        return None
    directory = str(recipe.parameters["directory"])
    path = Path(directory) / TOKENIZER_FILE
    if not directory or not path.is_file():
        expected = f"a folder with {TOKENIZER_FILE} (parameters directory=...)"
        raise ParameterError("directory", directory, expected)
    return path.read_bytes()


KIND = TextInputs()
