"""Uploads: tables, texts and bars that people sent, by name.

A file lies at `DATA_DIR/data/NAME/SHA-256/FILE`, its facts in table `data_files`. The row says
which file a name means, so a file without a row is not there. A name that is uploaded again means
the new file from the commit on; the old file goes when nobody reads it. What a killed process left
(files that were arriving, files renamed and not committed) goes at the next upload or start.

Locks: the folder's own, for a moment, while files are made, renamed with the commit, or removed; a
file's own, shared while it is read and exclusive while it arrives. This module looks at no content;
`pipelines/data/upload_checks.py` does.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader, BufferedWriter
from pathlib import Path

import sqlalchemy as sa

from pipelines.data.sources.segments import SegmentFolder, sync_folder
from pipelines.data.upload_checks import Contents
from registry import events
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import (
    DataInUseError,
    DataMissingError,
    DataNameError,
    DataNameTakenError,
    DataNotFoundError,
    DiskFullError,
    StoreBusyError,
    TooManyUploadsError,
)
from registry.tables import data_files, jobs, models, versions

SUFFIXES = {"csv": ".csv", "parquet": ".parquet"}
SOURCE = "data"
"""The source of a recipe whose `path` is a name of uploaded data."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ARRIVING = ".arriving"
RESERVE_BYTES = 256_000_000
"""Room that an upload leaves on the disk, because database and bars are there too."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MOST_ARRIVING = 8
"""Files that may arrive at once, because each takes room before it is known to be data."""
READ_TRIES = 5


@dataclass(frozen=True, slots=True)
class DataFile:
    """One name: what it holds now, and who sent it when."""

    name: str
    kind: str
    format: str
    sha256: str
    n_bytes: int
    n_rows: int
    columns: tuple[str, ...]
    actor: str
    uploaded_at: datetime

    @property
    def file_name(self) -> str:
        """The name on disk, which readers take for the symbol of bars without one."""
        return file_name(self.name, self.format)


@dataclass(frozen=True, slots=True)
class Kept:
    """The end of an upload; `is_new` for a name without data before, `is_changed` for new bytes."""

    file: DataFile
    is_new: bool
    is_changed: bool


@dataclass(slots=True)
class Arriving:
    """A file that is being written; nobody else sees it. Its lock ends with `close`."""

    path: Path
    reserve_bytes: int
    _file: BufferedWriter
    n_bytes: int = 0
    _sha: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        """Digest of the bytes so far."""
        return self._sha.hexdigest()

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises:
            DiskFullError: less than the reserve would stay free.
        """
        check_room(self.path.parent, len(content), self.reserve_bytes)
        with full_disk_said(self.reserve_bytes):
            self._file.write(content)
        self._sha.update(content)
        self.n_bytes += len(content)

    def sync(self) -> None:
        """Flush the bytes to disk, where others can read them.

        Raises:
            DiskFullError: the disk does not take them.
        """
        with full_disk_said(self.reserve_bytes):
            self._file.flush()
            os.fsync(self._file.fileno())

    def release(self) -> None:
        """End the lock of a file that is data now: whoever replaces it may remove it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Remove what is still here, and end the lock."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        with suppress(OSError):  # bytes that the full disk did not take
            self._file.close()


class Uploads:
    """The uploaded data of one installation. Keeps no state; safe for threads and processes."""

    def __init__(
        self, engine: sa.Engine, directory: Path, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self._engine = engine
        self.directory = directory
        self._reserve_bytes = reserve_bytes

    def list_all(self) -> list[DataFile]:
        """Return what every name holds, in alphabetical order."""
        return list_data(self._engine)

    def get(self, name: str) -> DataFile:
        """Return what a name holds.

        Raises:
            DataNameError, DataNotFoundError: no such name.
        """
        return get_data(self._engine, name)

    @contextmanager
    def arriving(self, name: str, format: str) -> Iterator[Arriving]:
        """Yield a new file to write to; what was not kept is removed.

        Raises:
            DataNameError: the name cannot be one.
            TooManyUploadsError: as many as may arrive at once do.
            DiskFullError: there is no room for a file.
        """
        arriving = self._begin(check_name(name), format)
        try:
            yield arriving
        finally:
            arriving.close()

    def keep(self, name: str, arriving: Arriving, contents: Contents, actor: str) -> Kept:
        """Make a file that has arrived the one that its name means, or change nothing.

        The same bytes of the same kind change nothing. File, row and event are there together or
        not at all.

        Raises:
            DataNameTakenError: another name differs in capitals only.
            StoreBusyError: other uploads hold the folder too long.
        """
        arriving.sync()
        now = datetime.now(UTC)
        file = DataFile(
            name,
            contents.kind,
            contents.format,
            arriving.sha256,
            arriving.n_bytes,
            contents.n_rows,
            contents.columns,
            actor,
            now,
        )
        with self._locked():
            held = self._find(name)
            self._publish(arriving.path, file)  # the same bytes mend a file that was damaged
            is_changed = held is None or not _is_same(held, file)
            if is_changed:
                self._record(file, held)
            arriving.release()
            self._remove_stale(name)
        known = file if is_changed or held is None else held
        return Kept(known, is_new=held is None, is_changed=is_changed)

    def delete(self, name: str, actor: str) -> DataFile:
        """Forget a name and return what it held; its file goes when nobody reads it any more.

        Raises:
            DataNameError, DataNotFoundError: no such name.
            DataInUseError: a model that is not archived, or an open job, names it.
        """
        check_name(name)
        with self._locked():
            file = self.get(name)
            with self._engine.begin() as connection:
                if users := users_of(connection, name):
                    raise DataInUseError(name, users)
                connection.execute(sa.delete(data_files).where(data_files.c.name == name))
                facts: dict[str, Json] = {"name": name, "sha256": file.sha256}
                reason = f"data {name} deleted"
                events.append(connection, "data_deleted", actor=actor, reason=reason, facts=facts)
            self._remove_stale(name)
        return file

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[DataFile, BufferedReader, Path]]:
        """Yield a name's newest file, open and held: it is not removed meanwhile.

        Raises:
            DataNameError, DataNotFoundError: no such name.
            DataMissingError: its file is not there.
        """
        for _ in range(READ_TRIES):  # a newer upload may take the file away before it is held
            file = self.get(name)
            path = self.path_of(file)
            try:
                opened = path.open("rb")
            except FileNotFoundError:
                continue
            with opened:
                fcntl.flock(opened, fcntl.LOCK_SH)
                if not path.exists():
                    continue
                yield file, opened, path
                return
        raise DataMissingError(name, "is not there")

    def sweep(self) -> int:
        """Remove what killed processes left; return how many files that were."""
        if not self.directory.is_dir():
            return 0
        with self._locked():
            n_removed = self._sweep_arriving()
            names = [p.name for p in self.directory.iterdir() if NAME.fullmatch(p.name)]
            return n_removed + sum(self._remove_stale(name) for name in names)

    def path_of(self, file: DataFile) -> Path:
        """Return where the file of a row lies."""
        return self.directory / file.name / file.sha256 / file.file_name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(SegmentFolder(self.directory).lock(exclusive=True))
            except StoreBusyError as exc:
                raise StoreBusyError("the folder of uploads", exc.waited_seconds) from exc
            yield

    def _begin(self, name: str, format: str) -> Arriving:
        with self._locked():
            self._sweep_arriving()
            if len(list(self.directory.glob(f"{ARRIVING}/*"))) >= MOST_ARRIVING:
                raise TooManyUploadsError(MOST_ARRIVING)
            folder = self.directory / ARRIVING / uuid.uuid4().hex
            with full_disk_said(self._reserve_bytes):
                folder.mkdir(parents=True)
                path = folder / file_name(name, format)
                file = path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            return Arriving(path, self._reserve_bytes, file)

    def _sweep_arriving(self) -> int:
        """Remove files whose process is gone: nobody holds them."""
        for folder in self.directory.glob(f"{ARRIVING}/*"):
            with suppress(OSError):  # not empty
                folder.rmdir()
        return sum(_remove(path) for path in self.directory.glob(f"{ARRIVING}/*/*"))

    def _find(self, name: str) -> DataFile | None:
        with reading(self._engine) as connection:
            folded = sa.func.lower(data_files.c.name) == name.lower()
            row = connection.execute(sa.select(data_files).where(folded)).one_or_none()
        if row is not None and row.name != name:
            raise DataNameTakenError(name, row.name)
        return None if row is None else _data_file(row)

    def _publish(self, path: Path, file: DataFile) -> None:
        target = self.path_of(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        for folder in (target.parent, target.parent.parent, self.directory):
            sync_folder(folder)

    def _record(self, file: DataFile, held: DataFile | None) -> None:
        values = {name: getattr(file, name) for name in data_files.c.keys()}  # noqa: SIM118
        values["columns"] = list(file.columns)
        facts: dict[str, Json] = {
            name: values[name] for name in ("name", "kind", "format", "sha256", "n_bytes", "n_rows")
        }
        facts["replaced"] = held.sha256 if held else None
        with self._engine.begin() as connection:
            insert = insert_for(connection, data_files).values(values)
            changed = {name: value for name, value in values.items() if name != "name"}
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))
            reason = f"data {file.name} {'replaced' if held else 'uploaded'}"
            events.append(connection, "data_uploaded", actor=file.actor, reason=reason, facts=facts)

    def _remove_stale(self, name: str) -> int:
        """Remove the files of a name that its row does not mean and nobody reads."""
        with reading(self._engine) as connection:
            query = sa.select(data_files).where(data_files.c.name == name)
            row = connection.execute(query).one_or_none()
        meant = None if row is None else self.path_of(_data_file(row))
        folder = self.directory / name
        n_removed = sum(_remove(path) for path in folder.glob("*/*") if path != meant)
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()
        return n_removed


def check_name(name: str) -> str:
    """Return a name that data can have.

    Raises:
        DataNameError: any other; every path is one.
    """
    if not NAME.fullmatch(name):
        raise DataNameError
    return name


def file_name(name: str, format: str) -> str:
    """Return the file's name: the data's, ending as its format does."""
    suffix = SUFFIXES[format]
    return name if name.lower().endswith(suffix) else f"{name}{suffix}"


def list_data(engine: sa.Engine) -> list[DataFile]:
    """Return what every name holds, in alphabetical order."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(data_files).order_by(data_files.c.name))
        return [_data_file(row) for row in rows]


def get_data(engine: sa.Engine, name: str) -> DataFile:
    """Return what a name holds.

    Raises:
        DataNameError, DataNotFoundError: no such name.
    """
    check_name(name)
    with reading(engine) as connection:
        query = sa.select(data_files).where(data_files.c.name == name)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise DataNotFoundError(name, connection.scalars(sa.select(data_files.c.name)))
        return _data_file(row)


def users_of(connection: sa.Connection, name: str) -> list[str]:
    """Return what would read a name again.

    Models that are not archived, by their recipe or their newest version, and open jobs.
    """
    found = set()
    archived = set()
    for model_id, recipe, archived_at in connection.execute(
        sa.select(models.c.model_id, models.c.recipe, models.c.archived_at)
    ):
        if archived_at is not None:
            archived.add(model_id)
        elif _names(recipe, name):
            found.add(f"model {model_id}")
    newest = sa.select(versions.c.model_id, sa.func.max(versions.c.number).label("number"))
    newest_of = newest.group_by(versions.c.model_id).subquery()
    is_newest = (versions.c.model_id == newest_of.c.model_id) & (
        versions.c.number == newest_of.c.number
    )
    query = sa.select(versions.c.model_id, versions.c.contract).join(newest_of, is_newest)
    for model_id, contract in connection.execute(query):
        data = contract.get("data", {})
        if model_id not in archived and _names(
            {**data.get("parameters", {}), "source": data.get("source")}, name
        ):
            found.add(f"model {model_id}")
    is_open = jobs.c.state.in_(("queued", "leased"))
    for job_id, payload in connection.execute(sa.select(jobs.c.id, jobs.c.payload).where(is_open)):
        if _names(payload, name):
            found.add(f"job {job_id}")
    return sorted(found)


def check_room(folder: Path, n_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
    """Refuse to write what would leave less than the reserve free on the disk (DiskFullError)."""
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < reserve_bytes + n_bytes:
        raise DiskFullError(reserve_bytes)


@contextmanager
def full_disk_said(reserve_bytes: int) -> Iterator[None]:
    """Say of a write that the disk did not take that the disk is full (DiskFullError)."""
    try:
        yield
    except OSError as exc:
        if exc.errno in FULL:
            raise DiskFullError(reserve_bytes) from exc
        raise


def _names(parameters: dict[str, Json], name: str) -> bool:
    return parameters.get("source") == SOURCE and parameters.get("path") == name


def _is_same(held: DataFile, file: DataFile) -> bool:
    facts = ("kind", "format", "sha256")
    return all(getattr(held, fact) == getattr(file, fact) for fact in facts)


def _remove(path: Path) -> bool:
    """Remove a file and its folder, unless somebody holds the file; return whether it is gone."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # held, gone already, or another user's
        return False
    with suppress(OSError):  # another file is in it
        path.parent.rmdir()
    return True


def _data_file(row: "sa.Row[tuple[object, ...]]") -> DataFile:
    facts = dict(row._mapping)
    return DataFile(**{**facts, "columns": tuple(facts["columns"])})
