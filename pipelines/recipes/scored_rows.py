"""Scored rows: what stage `score` answers, from any source, slice by slice.

Parquet files and Arrow streams are read as they are scored. A CSV is read whole, and so are bars,
whose features look back over the bars before them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.frame_files import ARROW, PARQUET, SUFFIXES, FrameFile, cut
from pipelines.data.sources.files import paths_of
from pipelines.data.sources.number_texts import with_points
from pipelines.data.sources.tables import PARQUET_SUFFIXES, read_table
from pipelines.data.sources.uploaded import held
from pipelines.data.uploads import SOURCE as DATA
from pipelines.method.rows import LabelledRows
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.answering import TIME_TYPE, Answerer, check_kept
from pipelines.recipes.inputs.frames import FrameInputs, Schema
from pipelines.recipes.recipe import Recipe
from registry.errors import MLEngineError, ParameterError, TableError
from registry.settings import PlatformSettings

FILES = "files"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows: the columns that their answers repeat, and a frame, or inputs made already."""

    kept: pl.DataFrame
    rows: pl.DataFrame | FrameInputs


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows to answer: how many they are, and `slices(size, first_row)`."""

    n_rows: int
    slices: Callable[[int, int], Iterator[Slice]]


@contextmanager
def rows_to_score(
    answerer: Answerer,
    source: SourceParameters,
    settings: PlatformSettings,
    keep: Sequence[str] = (),
) -> Iterator[ScoredRows]:
    """Yield the rows of a source.

    Raises:
        MLEngineError: a source or columns that this version cannot be asked about.
    """
    query = replace(source.query(), platform=settings)
    with ExitStack() as stack:
        paths: list[Path] = []
        if source.source == FILES:
            paths = paths_of(query.path)
        elif source.source == DATA:
            _, located = stack.enter_context(held(query, answerer.kind.uploaded_as))
            paths = paths_of(located.path)
        if paths and (found := _of_files(answerer, paths, keep)):
            yield found
        else:
            yield _of_bars_or_texts(answerer, source, settings, keep)


def of_body(answerer: Answerer, file: FrameFile, keep: Sequence[str]) -> ScoredRows:
    """Return the rows of a request's body.

    Raises:
        MLEngineError: columns that this version cannot be asked about.
    """
    return _of_frame_files(answerer, [file], file.schema(), keep)


def format_of(path: Path) -> str | None:
    """Return the format of a file that is read slice by slice; None for a CSV."""
    name = path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return PARQUET
    return ARROW if name.endswith(SUFFIXES[ARROW]) else None


def _of_files(answerer: Answerer, paths: list[Path], keep: Sequence[str]) -> ScoredRows | None:
    """Return the rows of files; None where they hold bars, not rows of features."""
    formats = {format_of(path) for path in paths}
    if len(formats) > 1:
        raise TableError("there are CSV and Parquet files", str(paths[0].parent), "give one kind")
    kind = formats.pop()
    if kind is None:
        return _of_texts(answerer, paths, keep)
    files = [FrameFile(path, kind) for path in paths]
    schema = files[0].schema()
    if any(file.schema() != schema for file in files[1:]):
        raise TableError("the files have different columns", str(paths[0].parent), "give one kind")
    if not _has_features(answerer, schema):
        return None
    return _of_frame_files(answerer, files, schema, keep)


def _of_frame_files(
    answerer: Answerer, files: Sequence[FrameFile], schema: Schema, keep: Sequence[str]
) -> ScoredRows:
    columns = answerer.columns(schema, keep)

    def slices(size: int, first_row: int) -> Iterator[Slice]:
        if len(files) == 1:
            frames = files[0].slices(columns, size, first_row)
        else:
            every = (frame for file in files for frame in file.slices(columns, size))
            frames = cut(every, size, first_row)
        return (Slice(frame.select(keep), frame) for frame in frames)

    return ScoredRows(sum(file.n_rows() for file in files), slices)


def _of_texts(answerer: Answerer, paths: list[Path], keep: Sequence[str]) -> ScoredRows | None:
    """Return the rows of CSV files, whose values are texts until they are read as what they are."""
    tables = [read_table(path) for path in paths]
    frame = pl.concat([with_points(table)[0] for table in tables])
    if not _has_features(answerer, frame.schema):
        return None
    answerer.kind.frame_columns(answerer.contract, answerer.definition, frame.columns)
    check_kept(keep, frame.schema, answerer.types())
    return _of_frame(frame, keep)


def _of_frame(frame: pl.DataFrame, keep: Sequence[str]) -> ScoredRows:
    def slices(size: int, first_row: int) -> Iterator[Slice]:
        frames = (frame.slice(start, size) for start in range(first_row, len(frame), size))
        return (Slice(part.select(keep), part) for part in frames)

    return ScoredRows(len(frame), slices)


def _has_features(answerer: Answerer, schema: Schema) -> bool:
    """Whether files hold rows that a version is asked about, and not the bars behind them."""
    if answerer.kind.uploaded_as != "bars":
        return True
    return all(name in schema for name in answerer.contract.feature_names)


def _of_bars_or_texts(
    answerer: Answerer, source: SourceParameters, settings: PlatformSettings, keep: Sequence[str]
) -> ScoredRows:
    contract, kind = answerer.contract, answerer.kind
    if kind.has_times:
        kind.frame_columns(contract, answerer.definition, contract.feature_names)
    data = kind.read(source, RecipeParameters.of_contract(contract), settings)
    if not kind.has_times:
        check_kept(keep, data.frame.schema, answerer.types())
        return _of_frame(data.frame, keep)
    if keep:
        raise ParameterError("keep", ",".join(keep), "nothing: answers about bars have their own")
    spec = dict(contract.label_spec)
    rows = kind.rows(Recipe.of_contract(contract), data, spec, keep_unlabelled=True)
    return _of_rows(rows, data.price_basis)


def _of_rows(rows: LabelledRows, price_basis: str) -> ScoredRows:
    """Return one row per bar, with its symbol, its time and the basis of its prices."""
    names = pl.Series(rows.symbols, dtype=pl.String())

    def one(part: LabelledRows) -> Slice:
        nothing: dict[int, MLEngineError] = {}
        inputs = FrameInputs(np.arange(len(part)), part.X, part.context, nothing)
        kept = pl.DataFrame(
            {
                "symbol": names.gather(part.symbol),
                "as_of": pl.Series(part.t0).cast(cast(pl.DataType, TIME_TYPE)),
            }
        ).with_columns(pl.col("as_of").alias("history_end"), price_basis=pl.lit(price_basis))
        return Slice(kept, inputs)

    def slices(size: int, first_row: int) -> Iterator[Slice]:
        starts = range(first_row, len(rows), size)
        return (one(rows.take(np.arange(s, min(s + size, len(rows))))) for s in starts)

    return ScoredRows(len(rows), slices)


def kept_frame(kept: Mapping[str, Sequence[str]], entries: Sequence[Any]) -> pl.DataFrame:
    """Return what the answers of entries repeat, one row per entry."""
    names = {name: pl.Series(name, values, dtype=pl.String()) for name, values in kept.items()}
    return pl.DataFrame(names) if names else pl.DataFrame(height=len(entries))


def of_frame(answerer: Answerer, frame: pl.DataFrame, keep: Sequence[str]) -> ScoredRows:
    """Return the rows of a frame whose columns have been checked (`Answerer.columns`)."""
    return _of_frame(frame.select(answerer.columns(frame.schema, keep)), keep)


def of_entries(
    answerer: Answerer,
    entries: Sequence[Any],
    context: Mapping[str, NDArray[np.float64]],
    kept: pl.DataFrame,
) -> ScoredRows:
    """Return rows or texts as JSON has them.

    Args:
        context: one value per entry.
        kept: what their answers repeat, one row per entry.
    """

    def one(start: int, end: int) -> Slice:
        found = answerer.kind.entry_inputs(
            answerer.contract, answerer.definition, entries[start:end], start
        )
        given = {name: values[start:end][found.rows] for name, values in context.items()}
        inputs = replace(found, context={**found.context, **given})
        return Slice(kept[start:end], inputs)

    def slices(size: int, first_row: int) -> Iterator[Slice]:
        starts = range(first_row, len(entries), size)
        return (one(start, start + size) for start in starts)

    return ScoredRows(len(entries), slices)
