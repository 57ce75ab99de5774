"""Where a study lies: its journal, and the leases by which its workers know of each other.

In a folder (`files.py`) for workers of one machine; in the engine database (`postgres.py`) where
that is PostgreSQL, for workers of any machine that reaches it.

Optuna replays a journal, so what counts is the order of its lines. `Journal.together` makes several
changes one: all of them are read later or none, whoever is killed and whatever breaks meanwhile.
"""

import json
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from optuna.storages.journal import BaseJournalBackend

Log = dict[str, Any]

LOCK_SECONDS = 60.0
"""Longest wait for another worker's change; each takes milliseconds."""


class Journal(BaseJournalBackend):
    """Changes of a study in their order; safe for several processes, used by one thread each.

    Every method raises StudyUnavailableError where the storage does not answer, and then has
    changed nothing, unless the connection broke while a change was being confirmed.
    """

    def __init__(self) -> None:
        self._pending: list[Log] | None = None
        self._n_stored = 0
        """How many were stored when the block of `together` began to read; fixed within it."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that nobody else changes the study in, and keep all its changes or none."""
        with self._held():
            self._pending, self._n_stored = [], -1
            try:
                yield
                if self._pending:
                    self._store(self._pending)
            finally:
                self._pending = None

    def read_logs(self, log_number_from: int) -> Generator[Log, None, None]:
        """Yield the changes from this number on, those of an open block last."""
        if self._pending is None:
            yield from self._stored(log_number_from)
            return
        if not 0 <= self._n_stored <= log_number_from:
            n = log_number_from
            for log in self._stored(log_number_from):
                n += 1
                yield log
            self._n_stored = n
        yield from self._pending[max(0, log_number_from - self._n_stored) :]

    def append_logs(self, logs: list[Log]) -> None:
        """Append changes."""
        plain = [json.loads(json.dumps(log)) for log in logs]  # as they will be read
        if self._pending is not None:
            self._pending += plain
            return
        with self._held():
            self._store(plain)

    @abstractmethod
    def _held(self) -> AbstractContextManager[None]:
        """Hold the journal: nobody else appends within the block."""

    @abstractmethod
    def _stored(self, first: int) -> Iterable[Log]:
        """Yield what is stored, from this number on."""

    @abstractmethod
    def _store(self, logs: Sequence[Mapping[str, Any]]) -> None:
        """Store all of these or none; the journal is held."""


class Lease(Protocol):
    """The lease of one worker, held until `release` or the end of its process, however it ends."""

    worker: str

    def others(self) -> set[str]:
        """Return the other workers that live."""

    def release(self) -> None:
        """End the lease."""


class Storage(Protocol):
    """One study's place."""

    journal: Journal

    def lease(self) -> Lease:
        """Begin to be a worker."""

    def deciding(self) -> AbstractContextManager[object]:
        """Hold the right to decide, for as long as that takes."""


def storage_of(where: Path | sa.Engine, study: str) -> Storage:
    """Return the storage of a study: its own folder, or an engine database on PostgreSQL."""
    if isinstance(where, Path):
        from pipelines.tuning.storage.files import FileStorage

        return FileStorage(where)
    from pipelines.tuning.storage.postgres import PostgresStorage

    return PostgresStorage(where, study)
