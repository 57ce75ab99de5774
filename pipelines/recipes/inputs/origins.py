"""Origins: where the data of a kind come from; kinds that read bars share one, files another."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, cast

import polars as pl

from pipelines.data.bars import Bars, BarSeries
from pipelines.data.sources import SOURCES
from pipelines.data.sources.uploaded import held
from pipelines.data.tables.row_data import RowData, read_rows
from pipelines.parameters import SAID_OF_BARS, RecipeParameters, SourceParameters
from pipelines.recipes.inputs import Data, Dataset, InputKind
from pipelines.recipes.plausible_data import dated_bars
from registry.contract import Json, ModelContract
from registry.errors import ParameterError
from registry.gates import GateRow
from registry.settings import PlatformSettings


class FromBars(InputKind, Protocol):
    """A kind made of bars, from any source of them."""

    sources: Iterable[str] = SOURCES
    uploaded_as: str = "bars"

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> Bars:
        """Read the bars; source `store` without a path reads those this engine has received."""
        query = replace(source.query(wanted.seed), platform=settings)
        return SOURCES.get(source.source).read(query)

    def repeated(self, contract: ModelContract, end: datetime) -> dict[str, Json]:
        """Return the bars that this engine has received of the same symbols, up to `end`.

        What was said of splits, jumps and sessions holds for them too.
        """
        said = contract.data.parameters
        return {
            **{name: said[name] for name in SAID_OF_BARS if name in said},
            "source": "store",
            "symbols": ",".join(contract.symbols),
            "start": contract.data.start,
            "end": end.isoformat(),
            "interval": contract.interval,
        }

    def plausible_data(self, dataset: Dataset) -> tuple[GateRow, ...]:
        """Return the gates of the dates of prices, and of the columns beside them."""
        return dated_bars(cast(Bars, dataset.data).series())

    def training(self, data: Data) -> Sequence[BarSeries]:
        """Return the bars of each symbol."""
        return list(cast(Bars, data).series())


class FromFiles(InputKind, Protocol):
    """A kind made of the lines of files, which have no times that a request could name."""

    has_times: bool = False
    is_reported: bool = True
    sources: Iterable[str] = ("files", "data")

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> RowData:
        """Read files; other sources hold bars.

        Raises:
            ParameterError: another source than `files` and `data`.
            TableError, BarsError: files that cannot be used.
        """
        query = replace(source.query(), platform=settings)
        time = str(wanted.changed_options().get("time", ""))
        if source.source == "files":
            return read_rows(query, time)
        if source.source != "data":
            raise ParameterError("source", source.source, f"one of {', '.join(self.sources)}")
        with held(query, self.uploaded_as) as (file, located):
            rows = read_rows(located, time)
        return replace(rows, file_sha256=file.sha256)

    def repeated(self, contract: ModelContract, end: datetime) -> dict[str, Json]:
        """Return the source of the version's rows; new labels are appended to those files."""
        return {**contract.data.parameters, "source": contract.data.source}

    def training(self, data: Data) -> pl.DataFrame:
        """Return the frame."""
        return data.frame
