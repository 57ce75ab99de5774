"""Prediction retention: which days of the prediction log are removed.

The entry point `schedule` removes days that are older than PREDICTION_LOG_RETENTION_DAYS; 0 keeps
all. Days are counted back from the newest but one that was logged, not from the clock: a clock that
jumps ahead makes one new day, and removes nothing. Kept whatever their age are

- all days of a model whose retraining cycle is open;
- days with rows that the drift stage needs: of the version in production, the newest times for the
  next window and for the newest realised losses, and the newest window that was judged.

A version that has logged fewer times than that keeps them all. Models that nobody watches, or of a
kind whose drift says nothing, keep nothing for it, nor do the rows of batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
import sqlalchemy as sa
import structlog

from monitoring import reports
from monitoring.performance import RECENT_BARS
from monitoring.prediction_files import BATCHES, ModelFolder, parquet_files, read_files, span_of
from monitoring.prediction_merges import locked, merge_old_layout
from pipelines.data.bars import to_microseconds
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.reference import MOST_ALONE, WINDOW_BARS
from pipelines.templates import TEMPLATES
from registry import managed_models
from registry.database import reading
from registry.settings import PlatformSettings
from registry.tables import aliases, retraining_cycles, versions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """The version whose drift is judged, and how many of its newest times that takes."""

    number: int
    n_times: int


def remove_old(engine: sa.Engine, platform: PlatformSettings, days: int) -> dict[str, int]:
    """Remove what is older than so many days; return the number of files by model.

    A model whose files are being merged, or cannot be removed, is left for the next time.

    Args:
        days: 0 removes nothing.
    """
    removed: dict[str, int] = {}
    if not days or not platform.predictions_dir.is_dir():
        return removed
    for directory in sorted(platform.predictions_dir.iterdir()):
        if not directory.is_dir():
            continue
        try:
            n_files = _remove_batches(ModelFolder(directory / BATCHES), days)
            n_files += _remove(engine, ModelFolder(directory), days)
        except (OSError, pl.exceptions.PolarsError):
            log.exception("old predictions not removed", model=directory.name)
            continue
        if n_files:
            removed[directory.name] = n_files
            log.info("old predictions removed", model=directory.name, files=n_files)
    return removed


def _remove(engine: sa.Engine, folder: ModelFolder, days: int) -> int:
    while merge_old_layout(folder).is_changed:  # files of 0.1 have no day to grow old by
        pass
    old = _old_days(folder, days)
    if not old or _is_retraining(engine, folder.directory.name):
        return 0
    with locked(folder) as is_mine:
        if not is_mine:
            return 0
        needed_us = _needed_since(engine, folder)
        return sum(
            _remove_day(folder, day) for day in old if not _is_needed(folder, day, needed_us)
        )


def _remove_batches(folder: ModelFolder, days: int) -> int:
    """Remove old days of batches, which nothing is computed from."""
    old = _old_days(folder, days)
    if not old:
        return 0
    with locked(folder) as is_mine:
        return sum(_remove_day(folder, day) for day in old) if is_mine else 0


def _old_days(folder: ModelFolder, days: int) -> list[date]:
    known = folder.days()
    if not known:
        return []
    last = known[max(0, len(known) - 2)]
    return [day for day in known if day < last - timedelta(days=days)]


def _is_needed(folder: ModelFolder, day: date, needed_us: int | None) -> bool:
    """Return whether a day has rows from this time on; a name that does not say it may."""
    if needed_us is None:
        return False
    spans = [span_of(path) for path in parquet_files(folder.of_day(day))]
    return any(span is None or span[1] >= needed_us for span in spans)


def _remove_day(folder: ModelFolder, day: date) -> int:
    """Remove a day with what was set aside or left in it; return the number of Parquet files."""
    place = folder.of_day(day)
    n_files = len(parquet_files(place))
    for path in place.iterdir():
        path.unlink(missing_ok=True)
    place.rmdir()
    return n_files


# What is needed ---------------------------------------------------------------------------------


def _is_retraining(engine: sa.Engine, model_id: str) -> bool:
    query = sa.select(retraining_cycles.c.id).where(
        retraining_cycles.c.model_id == model_id, retraining_cycles.c.closed_at.is_(None)
    )
    with reading(engine) as connection:
        return connection.execute(query.limit(1)).first() is not None


def _needed_since(engine: sa.Engine, folder: ModelFolder) -> int | None:
    """Return the first time that the drift stage needs, in microseconds; None needs nothing."""
    model_id = folder.directory.name
    watched = _watched(engine, model_id)
    if watched is None:
        return None
    judged = reports.newest(engine, model_id, watched.number, limit=1)
    until = judged[0].window_end if judged else None
    found = pl.Series(dtype=pl.Int64)
    for times in _times(folder, watched.number, until):
        found = pl.concat([found, times]).unique().sort(descending=True)
        if len(found) >= watched.n_times:
            first = int(found[watched.n_times - 1])
            starts = [to_microseconds(report.window_start) for report in judged]
            return min([first, *starts])
    return 0


def _watched(engine: sa.Engine, model_id: str) -> Watched | None:
    query = (
        sa.select(versions.c.number, versions.c.contract)
        .join(
            aliases,
            sa.and_(
                aliases.c.model_id == versions.c.model_id, aliases.c.number == versions.c.number
            ),
        )
        .where(aliases.c.model_id == model_id, aliases.c.alias == "production")
    )
    with reading(engine) as connection:
        found = connection.execute(query).first()
    if found is None or model_id in managed_models.unwatched(engine):
        return None
    number, contract = found
    if contract["template"] not in TEMPLATES:  # of a package that is not installed here
        return Watched(number, MOST_ALONE)
    kind = kind_of(contract["template"])
    if not kind.is_watched:
        return None
    of_losses = RECENT_BARS + int(contract["horizon_bars"])
    return Watched(number, max(WINDOW_BARS if kind.has_times else MOST_ALONE, of_losses))


def _times(folder: ModelFolder, number: int, until: datetime | None) -> Iterator[pl.Series]:
    """Yield the times that a version has logged, day by day, the newest first."""
    conditions = [pl.col("version") == number, pl.col("as_of").is_not_null()]
    conditions += [] if until is None else [pl.col("as_of") <= until]
    for day in [*reversed(folder.days()), None]:
        place = folder.directory if day is None else folder.of_day(day)
        found = read_files(parquet_files(place), conditions, ["as_of"])
        yield found.rows["as_of"].to_physical().unique()
