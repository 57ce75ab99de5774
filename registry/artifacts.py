"""Artifacts: the local cache of versions' files that serving reads, with every digest checked.

At registration the engine database records the SHA-256 of every file. Nothing is parsed here before
its bytes were read once, hashed and found equal. So a file that was changed in MLflow's storage or
on this disk is refused, and a cached version works while MLflow is down.

Layout: `<cache>/<model_id>/<number>-<digest of the digests>/<path>`. Files in MLflow's storage that
were not registered are never copied.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp

import sqlalchemy as sa
from filelock import FileLock

from registry import acceptances, tables
from registry.database import reading
from registry.errors import (
    DamagedFileError,
    DigestMismatchError,
    MissingArtifactError,
    ModelNotFoundError,
    VersionNotFoundError,
)
from registry.model_store import ModelStore
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles, is_inside, sha256

LOCK_TIMEOUT_SECONDS = 120
_logger = logging.getLogger(__name__)
ALIASES_FILE = "aliases.json"


class ArtifactCache:
    """Local copies of version artifacts; safe for several processes on one disk."""

    def __init__(self, settings: PlatformSettings, engine: sa.Engine) -> None:
        self._directory = settings.cache_dir
        self._store = ModelStore(settings.mlflow_tracking_uri)
        self._engine = engine

    def fetch(self, model_id: str, number: int) -> VersionFiles:
        """Return the version's files, downloaded if need be, every digest checked.

        A cached copy that is damaged is downloaded again, once. A cached copy needs no MLflow.

        Raises:
            ModelNotFoundError, VersionNotFoundError: not registered in the engine database.
            DigestMismatchError: MLflow's storage holds other bytes than were registered.
            MissingArtifactError: MLflow's storage lacks a file.
            RegistryUnavailableError: a download is needed and MLflow does not answer.
            ArtifactStoreUnavailableError: the same of the store behind MLflow.
        """
        digests = recorded_digests(self._engine, model_id, number)
        place = self._place(model_id, number, digests)
        with reading(self._engine) as connection:
            accepted = acceptances.of_model(connection, model_id).get(number, ())
        gates = acceptances.gates_of(accepted)
        cached = VersionFiles(model_id, number, place, digests, gates)
        if _is_sound(cached):
            return cached
        cached.directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cached.directory}.lock", timeout=LOCK_TIMEOUT_SECONDS):
            if not _is_sound(cached):  # another process may have downloaded it meanwhile
                self._download(cached)
        return cached

    @contextmanager
    def some_files(
        self, model_id: str, number: int, names: Iterable[str]
    ) -> Iterator[VersionFiles]:
        """Yield a version with only these of its files at hand: a few small ones of a large one.

        They come from the cached copy, or from a download that is not kept; every digest is
        checked. Names that the version does not have are left out.

        Raises:
            as `fetch`.
        """
        every = recorded_digests(self._engine, model_id, number)
        digests = {name: every[name] for name in names if name in every}
        cached = VersionFiles(model_id, number, self._place(model_id, number, every), digests)
        if _is_sound(cached):
            yield cached
            return
        with TemporaryDirectory() as folder:
            raw = self._store.download(model_id, number, Path(folder), digests)
            yield VersionFiles(model_id, number, raw, digests)

    def check(self, model_id: str, number: int) -> None:
        """Refuse a version of which a file is not what was registered; nothing is kept.

        Raises:
            as `fetch`.
        """
        every = recorded_digests(self._engine, model_id, number)
        with self.some_files(model_id, number, every) as files:
            files.check()

    def remember_aliases(self, aliases: Mapping[str, Mapping[str, int]]) -> None:
        """Keep model -> alias -> version number, for a start while MLflow is down."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(dir=self._directory, prefix=".aliases-")
        with os.fdopen(handle, "w") as file:
            json.dump({model: dict(found) for model, found in aliases.items()}, file, indent=2)
        Path(name).replace(self._directory / ALIASES_FILE)

    def last_known_aliases(self) -> dict[str, dict[str, int]]:
        """Return the aliases of the last `remember_aliases`; empty when there was none.

        Raises:
            DamagedFileError: the file cannot be read.
        """
        path = self._directory / ALIASES_FILE
        try:
            found = json.loads(path.read_text())
            return {m: {a: int(n) for a, n in aliases.items()} for m, aliases in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError) as exc:
            raise DamagedFileError(str(path), str(exc)) from exc

    def _place(self, model_id: str, number: int, digests: Mapping[str, str]) -> Path:
        if not is_inside(model_id) or "/" in model_id:
            raise MissingArtifactError(f"{model_id}/{number}", "the name cannot be a folder's")
        key = sha256(json.dumps(dict(digests), sort_keys=True).encode())[:12]
        return self._directory / model_id / f"{number}-{key}"

    def _download(self, wanted: VersionFiles) -> None:
        with TemporaryDirectory(dir=wanted.directory.parent, prefix=".download-") as folder:
            kept = Path(folder) / "kept"
            kept.mkdir()
            which = (wanted.model_id, wanted.number)
            raw = self._store.download(*which, Path(folder) / "raw", wanted.digests)
            for path in wanted.digests:
                _move(raw, kept, path)
            VersionFiles(wanted.model_id, wanted.number, kept, wanted.digests).check()
            if wanted.directory.exists():
                wanted.directory.rename(Path(folder) / "damaged")
            kept.rename(wanted.directory)


def recorded_digests(engine: sa.Engine, model_id: str, number: int) -> dict[str, str]:
    """Return the digests recorded when the version was registered.

    Raises:
        ModelNotFoundError, VersionNotFoundError: the engine database has no such version.
    """
    table = tables.versions
    query = sa.select(table.c.number, table.c.digests).where(table.c.model_id == model_id)
    with reading(engine) as connection:
        found = {row.number: row.digests for row in connection.execute(query)}
        if not found:
            known = connection.scalars(sa.select(table.c.model_id).distinct()).all()
            raise ModelNotFoundError(model_id, known)
    if number not in found:
        raise VersionNotFoundError(model_id, f"version {number}", [str(n) for n in sorted(found)])
    return dict(found[number])


def _is_sound(files: VersionFiles) -> bool:
    if not files.directory.exists():
        return False
    try:
        files.check()
    except (MissingArtifactError, DigestMismatchError) as exc:
        _logger.warning("%s; the version is downloaded again", exc)
        return False
    return True


def _move(source: Path, target: Path, path: str) -> None:
    if not is_inside(path):
        raise MissingArtifactError(path, "a registered name leaves the version's folder")
    destination = target / path
    destination.parent.mkdir(parents=True, exist_ok=True)
    if (source / path).is_file():
        shutil.move(source / path, destination)
