"""Sources: where bars come from.

Extension point: one file per source here, one line in `SOURCES`, one line in docs/sources.md;
`tests/conformance/test_sources.py` then runs on it.

Guarantees of every source:
- the bars it returns went through `pipelines.data.bars.check_bars`;
- a column it does not have is null; nothing is invented;
- an unknown symbol is an `UnknownSymbolError` that names the known ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipelines.data.adjustments import NO_ADJUSTMENTS, Adjustments
from pipelines.data.bars import Bars
from registry.catalog import Catalog
from registry.settings import PlatformSettings


@dataclass(frozen=True, slots=True)
class BarQuery:
    """What to read.

    Args:
        symbols: empty means all (for `sample`: the 20 stocks).
        start, end: first and last bar close wanted, both included; None leaves a side open.
        path: file, folder or glob (`files`), bars folder (`store`), name of uploaded data (`data`).
        columns: our column name -> the file's name, or its position for a headerless file.
        interval: `1d`, `1h`, ...; empty means: read it off the data.
        timezone: IANA zone of times written without one.
        date_order: `day-first` or `month-first` where a file's dates leave it open.
        policy: `strict` (any problem is an error) or `repair` (duplicates dropped, disorder sorted,
            bad rows removed, each reported).
        adjustments: splits, price scale, jumps that are known, bars outside the session.
        seed: for `synthetic`.
        platform: where `store` and `data` are; None means as the environment says.
    """

    symbols: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    path: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    interval: str = ""
    timezone: str = "UTC"
    date_order: str = ""
    policy: str = "strict"
    adjustments: Adjustments = NO_ADJUSTMENTS
    seed: int = 0
    platform: PlatformSettings | None = None


class Source(Protocol):
    """One place bars come from."""

    name: str

    def read(self, query: BarQuery) -> Bars:
        """Return the bars asked for.

        Raises:
            UnknownSymbolError: a symbol it does not have.
            BarsError: the bars break a rule and the policy does not allow a repair.
            ParameterError: the query lacks something this source needs.
        """
        ...


SOURCES: Catalog[Source] = Catalog(
    "source",
    {
        "sample": "pipelines.data.sources.sample:SOURCE",
        "files": "pipelines.data.sources.files:SOURCE",
        "store": "pipelines.data.sources.store:SOURCE",
        "synthetic": "pipelines.data.sources.synthetic:SOURCE",
        "data": "pipelines.data.sources.uploaded:SOURCE",
    },
)
