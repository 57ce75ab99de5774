"""Damage: files below DATA_DIR that are not what was written: `python -m monitoring.damage --help`.

    python -m monitoring.damage
    python -m monitoring.damage --move-aside

Bars and the prediction log are read, uploads and cached artifacts compared with the SHA-256 that
the engine database holds. `--move-aside` moves what is damaged below DATA_DIR/damaged, under the
path that it had, and deletes nothing. Processes that run notice it at their next look. Artifacts in
MLflow's own store are compared whenever one is fetched, not here.
"""

import argparse
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from monitoring.prediction_files import read_whole
from pipelines.data.sources import seals
from pipelines.data.sources.segments import SegmentFolder
from pipelines.data.uploads import Uploads, list_data
from registry.artifacts import recorded_digests
from registry.command_line import run
from registry.database import opened_engine, reading
from registry.settings import PlatformSettings, read_settings
from registry.tables import versions

ASIDE = "damaged"
FOUND = 1
"""Exit status when there are damaged files and nobody asked to move them."""
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged file, and what it held in words."""

    path: Path
    held: str


def damaged_files(settings: PlatformSettings, engine: sa.Engine) -> Iterator[Damaged]:
    """Yield every damaged file of an installation."""
    yield from damaged_bars(settings.bars_dir)
    yield from damaged_predictions(settings.predictions_dir)
    yield from _damaged_uploads(settings, engine)
    yield from _damaged_artifacts(settings, engine)


def damaged_bars(directory: Path) -> Iterator[Damaged]:
    """Yield the segments of bars that cannot be read, or hold other bytes than were written."""
    for interval in sorted(path for path in directory.glob("*") if path.is_dir()):
        folder = SegmentFolder(interval)
        for name, symbols in sorted(folder.damaged(folder.names()).items()):
            whose = ", ".join(symbols) or "unknown symbols"
            yield Damaged(interval / name, f"{interval.name} bars of {whose}")


def damaged_predictions(directory: Path) -> Iterator[Damaged]:
    """Yield the files of the prediction log that cannot be read."""
    for path in sorted(directory.rglob("*.parquet")):
        try:
            read_whole(path)
        except FileNotFoundError:  # merged meanwhile
            continue
        except UNREADABLE:
            yield Damaged(path, f"predictions of {path.relative_to(directory).parts[0]}")


def _damaged_uploads(settings: PlatformSettings, engine: sa.Engine) -> Iterator[Damaged]:
    uploads = Uploads(engine, settings.uploads_dir)
    for file in list_data(engine):
        path = uploads.path_of(file)
        if path.is_file() and _sha256(path) != file.sha256:
            yield Damaged(path, f"the uploaded data {file.name}")


def _damaged_artifacts(settings: PlatformSettings, engine: sa.Engine) -> Iterator[Damaged]:
    """Yield the cached artifacts that are not what was registered; they are fetched again."""
    with reading(engine) as connection:
        known = connection.execute(sa.select(versions.c.model_id, versions.c.number)).all()
    for model_id, number in known:
        digests = recorded_digests(engine, model_id, number)
        for folder in sorted((settings.cache_dir / model_id).glob(f"{number}-*")):
            for name, expected in sorted(digests.items()):
                path = folder / name
                if path.is_file() and _sha256(path) != expected:
                    yield Damaged(path, f"an artifact of {model_id} version {number}")


def move_aside(settings: PlatformSettings, path: Path) -> Path:
    """Move a damaged file below DATA_DIR/damaged, under the path that it had; return it there.

    One that lies there already is kept beside it.
    """
    wanted = settings.data_dir / ASIDE / path.relative_to(settings.data_dir)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    target, n = wanted, 1
    while target.exists():
        target, n = wanted.with_name(f"{wanted.name}.{n}"), n + 1
    shutil.move(path, target)
    seals.move(path, target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """List the damaged files, or move them aside; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m monitoring.damage", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--move-aside", action="store_true", help="move them to DATA_DIR/damaged")
    is_moving = parser.parse_args(argv).move_aside
    settings = read_settings(PlatformSettings)
    with opened_engine(settings) as engine:
        found = [*damaged_files(settings, engine)]
        for each in found:
            if is_moving:
                print(f"{each.path} -> {move_aside(settings, each.path)}: {each.held}")
            else:
                print(f"{each.path}: {each.held}")
    if not found:
        print("no damaged file")
    return FOUND if found and not is_moving else 0


if __name__ == "__main__":
    run(main)
