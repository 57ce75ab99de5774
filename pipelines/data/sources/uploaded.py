"""Source `data`: what people uploaded, by name (`pipelines.data.uploads`).

A name means its newest upload, so a run that repeats another one reads what was uploaded since.
The digest of the file is checked while it is held, and travels with the data into the contract.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pipelines.data.bars import Bars
from pipelines.data.sources import BarQuery
from pipelines.data.sources.files import SOURCE as FILES
from pipelines.data.uploads import SOURCE as NAME
from pipelines.data.uploads import DataFile, Uploads
from registry.database import opened_engine
from registry.errors import DataMissingError, ParameterError
from registry.settings import PlatformSettings, read_settings


@contextmanager
def held(query: BarQuery, kind: str) -> Iterator[tuple[DataFile, BarQuery]]:
    """Yield the upload that a query's `path` names, and the query with the path of its file.

    Raises:
        ParameterError: data of another kind.
        DataNameError, DataNotFoundError: no such name.
        DataMissingError: the file is gone, or is not the one that was uploaded.
    """
    platform = query.platform or read_settings(PlatformSettings)
    name = str(query.path or "")
    with (
        opened_engine(platform) as engine,
        Uploads(engine, platform.uploads_dir).opened(name) as (file, opened, path),
    ):
        check_kind(file, kind)
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
            raise DataMissingError(name, "is not the one that was uploaded")
        yield file, replace(query, path=path)


def check_kind(file: DataFile, kind: str) -> None:
    """Refuse data of another kind.

    Raises:
        ParameterError: they are.
    """
    if file.kind != kind:
        found = f"uploaded data of kind {kind}, not {file.kind}"
        raise ParameterError("path", file.name, f"{found}; upload them with ?kind={kind}")


class Uploaded:
    """Uploaded bars."""

    name = NAME

    def read(self, query: BarQuery) -> Bars:
        """Return the bars of the newest upload of the name that `path` is; as `files` reads them.

        Raises:
            as `held`.
        """
        with held(query, "bars") as (file, located):
            bars = FILES.read(located)
        return replace(bars, source=self.name, file_sha256=file.sha256)


SOURCE = Uploaded()
