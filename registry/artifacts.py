"""Artifacts of a version: their names, their digests, and a local cache that serving reads.

Trust comes from the engine database: at registration the SHA-256 of every file is recorded
there, and nothing is parsed here before its bytes, read once, were hashed and found equal. So a
file changed in MLflow's storage or on this disk is refused, and a version that is cached works
while MLflow is down.

Layout: `<cache>/<model_id>/<number>-<digest of the digests>/<path>`; files in MLflow's storage
that were not registered are never copied.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, mkstemp
from typing import TYPE_CHECKING

import sqlalchemy as sa
from filelock import FileLock

from registry import decoder, tables
from registry.contract import ModelContract
from registry.database import reading
from registry.decoder import Decoder
from registry.errors import (
    DamagedFileError,
    DigestMismatchError,
    MissingArtifactError,
    ModelNotFoundError,
    VersionNotFoundError,
)
from registry.gates import GateRow
from registry.settings import PlatformSettings

if TYPE_CHECKING:
    from registry.model_store import ModelStore

CONTRACT_FILE = "contract.json"
GOLDEN_FILE = "golden.npz"
"""Arrays `features` float32 (sample, [step,] feature) and `scores` float32 (sample, score)."""
REFERENCE_FILE = "reference.parquet"
"""Columns symbol, timestamp and one float column per feature: what drift is compared with."""
DRIFT_FILE = "drift.json"
RECORD_FILE = "validation.json"
"""The gate record: a list of `GateRow.to_json()`."""
MANIFEST_FILE = "manifest.json"
CURVES_FILE = "curves.json"

LOCK_TIMEOUT_SECONDS = 120
_logger = logging.getLogger(__name__)
ALIASES_FILE = "aliases.json"


def digest_directory(directory: Path) -> dict[str, str]:
    """Return relative POSIX path -> SHA-256 (hex) of every file below the directory."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {p.relative_to(directory).as_posix(): _sha256(p.read_bytes()) for p in paths}


def model_files(digests: Mapping[str, str]) -> dict[str, str]:
    """Return flavor -> path of its model file (`onnx/model.onnx` is flavor `onnx`)."""
    paths = [PurePosixPath(path) for path in digests]
    return {p.parts[0]: str(p) for p in paths if len(p.parts) == 2 and p.stem == "model"}


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files of one version on this disk; every read is checked against its digest.

    `digests` come from the engine database: relative path -> SHA-256.
    """

    model_id: str
    number: int
    directory: Path
    digests: Mapping[str, str]

    def read(self, path: str) -> bytes:
        """Return a file's content: read once, hashed, equal to what was registered.

        Raises:
            MissingArtifactError: not a file of this version (a path that leaves the version's
                folder never is one), or gone from the disk.
            DigestMismatchError: the bytes are not the registered ones.
        """
        which = f"{self.model_id}/{self.number}/{path}"
        if path not in self.digests or not _is_inside(path):
            raise MissingArtifactError(which, "the version has no such file")
        try:
            content = (self.directory / path).read_bytes()
        except FileNotFoundError as exc:
            raise MissingArtifactError(which, "the version lists it") from exc
        if (found := _sha256(content)) != self.digests[path]:
            raise DigestMismatchError(which, self.digests[path], found)
        return content

    def check(self) -> None:
        """Read every file once, raising as `read` does."""
        for path in self.digests:
            self.read(path)

    @property
    def contract(self) -> ModelContract:
        """What the version takes and gives."""
        return ModelContract.from_json(self.read(CONTRACT_FILE).decode())

    @property
    def decoder(self) -> Decoder:
        """Everything fitted after the scores."""
        names = (decoder.JSON_FILE, decoder.ARRAYS_FILE)
        return Decoder.from_files({name: self.read(name) for name in names})

    @property
    def record(self) -> tuple[GateRow, ...]:
        """The gate record."""
        return tuple(GateRow.from_json(row) for row in json.loads(self.read(RECORD_FILE)))

    def model_files(self) -> dict[str, str]:
        """Return flavor -> path of its model file."""
        return model_files(self.digests)


class ArtifactCache:
    """Local copies of version artifacts; safe for several processes on one disk."""

    def __init__(self, settings: PlatformSettings, engine: sa.Engine) -> None:
        self._directory = settings.cache_dir
        self._uri = settings.mlflow_tracking_uri
        self._engine = engine

    def fetch(self, model_id: str, number: int) -> VersionFiles:
        """Return the version's files, downloaded if need be, every digest checked.

        A cached copy that is damaged is downloaded again, once. A cached copy needs no MLflow.

        Raises:
            ModelNotFoundError, VersionNotFoundError: not registered in the engine database.
            DigestMismatchError: MLflow's storage holds other bytes than were registered.
            MissingArtifactError: MLflow's storage lacks a file.
            RegistryUnavailableError: a download is needed and MLflow does not answer.
        """
        digests = recorded_digests(self._engine, model_id, number)
        cached = VersionFiles(model_id, number, self._place(model_id, number, digests), digests)
        if _is_sound(cached):
            return cached
        cached.directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cached.directory}.lock", timeout=LOCK_TIMEOUT_SECONDS):
            if not _is_sound(cached):  # another process may have downloaded it meanwhile
                self._download(cached)
        return cached

    def remember_aliases(self, aliases: Mapping[str, Mapping[str, int]]) -> None:
        """Keep model -> alias -> version number, for a start while MLflow is down."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(dir=self._directory, prefix=".aliases-")
        with os.fdopen(handle, "w") as file:
            json.dump({model: dict(found) for model, found in aliases.items()}, file, indent=2)
        Path(name).replace(self._directory / ALIASES_FILE)

    def last_known_aliases(self) -> dict[str, dict[str, int]]:
        """Return what `remember_aliases` kept last; empty when nothing was kept.

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
        if not _is_inside(model_id) or "/" in model_id:
            raise MissingArtifactError(f"{model_id}/{number}", "the name cannot be a folder's")
        key = _sha256(json.dumps(dict(digests), sort_keys=True).encode())[:12]
        return self._directory / model_id / f"{number}-{key}"

    def _download(self, wanted: VersionFiles) -> None:
        with TemporaryDirectory(dir=wanted.directory.parent, prefix=".download-") as folder:
            kept = Path(folder) / "kept"
            kept.mkdir()
            raw = self._store().download(wanted.model_id, wanted.number, Path(folder) / "raw")
            for path in wanted.digests:
                _move(raw, kept, path)
            VersionFiles(wanted.model_id, wanted.number, kept, wanted.digests).check()
            if wanted.directory.exists():
                wanted.directory.rename(Path(folder) / "damaged")
            kept.rename(wanted.directory)

    def _store(self) -> "ModelStore":
        from registry.model_store import ModelStore

        return ModelStore(self._uri)


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
    if not _is_inside(path):
        raise MissingArtifactError(path, "a registered name leaves the version's folder")
    destination = target / path
    destination.parent.mkdir(parents=True, exist_ok=True)
    if (source / path).is_file():
        shutil.move(source / path, destination)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path and path != ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
