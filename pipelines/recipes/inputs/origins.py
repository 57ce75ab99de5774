"""Origins: where the data of a kind come from; kinds that read bars share one, files another."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, cast

import polars as pl

from pipelines.data.bars import Bars, BarSeries
from pipelines.data.sources import SOURCES
from pipelines.data.tables.row_data import RowData, read_rows
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import Data, InputKind
from registry.contract import Json, ModelContract
from registry.errors import ParameterError
from registry.settings import PlatformSettings


class FromBars(InputKind, Protocol):
    """A kind made of bars, from any source of them."""

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> Bars:
        """Read the bars; source `store` without a path reads those this engine has received."""
        query = source.query(wanted.seed)
        if source.source == "store" and query.path is None:
            query = replace(query, path=settings.bars_dir)
        return SOURCES.get(source.source).read(query)

    def repeated(self, contract: ModelContract, end: datetime) -> dict[str, Json]:
        """Return the bars that this engine has received of the same symbols, up to `end`."""
        return {
            "source": "store",
            "symbols": ",".join(contract.symbols),
            "start": contract.data.start,
            "end": end.isoformat(),
            "interval": contract.interval,
        }

    def training(self, data: Data) -> Sequence[BarSeries]:
        """Return the bars of each symbol."""
        return list(cast(Bars, data).series())


class FromFiles(InputKind, Protocol):
    """A kind made of the lines of files, which have no times that a request could name."""

    has_times: bool = False
    sources: str
    """What this kind can be read from, as an error says it."""

    def read(
        self, source: SourceParameters, wanted: RecipeParameters, settings: PlatformSettings
    ) -> RowData:
        """Read files; other sources hold bars.

        Raises:
            ParameterError: another source than `files`.
            TableError, BarsError: files that cannot be used.
        """
        if source.source != "files":
            raise ParameterError("source", source.source, self.sources)
        return read_rows(source.query(), str(wanted.changed_options().get("time", "")))

    def repeated(self, contract: ModelContract, end: datetime) -> dict[str, Json]:
        """Return the source of the version's rows; new labels are appended to those files."""
        return {**contract.data.parameters, "source": contract.data.source}

    def training(self, data: Data) -> pl.DataFrame:
        """Return the frame."""
        return data.frame
