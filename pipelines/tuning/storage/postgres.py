"""A study in the engine database, where that is PostgreSQL: for workers of any machine.

A change is one transaction under an advisory lock of the study. A lease is an advisory lock that a
connection of its own holds: the server frees it when the process ends, however it ends, and within
a minute where the machine is gone. No clock is asked. After the server was away a worker takes its
lease again; until all have had time to, nobody is taken for gone.

Advisory locks belong to a session: a pool of connections between worker and server has to give
each its own (PgBouncer: `pool_mode = session`).
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import sqlalchemy as sa

from pipelines.tuning.storage import LOCK_SECONDS, Journal, Log
from registry.database import AWAY, cause_of, reading
from registry.errors import StudyUnavailableError
from registry.tables import study_journal

BEAT_SECONDS = 2.0
"""Between two looks at whether the lease's connection still stands."""
SETTLED_SECONDS = 10.0
"""After which every worker that lives has taken its lease again, once the server is back."""
GONE_AFTER = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""Seconds, and how often: when the server holds a machine for gone that says nothing any more."""


class PostgresStorage:
    """A study's rows and locks in an engine database."""

    def __init__(self, engine: sa.Engine, study: str) -> None:
        self._engine, self._study = engine, study
        with _usable(study), reading(engine) as connection:
            schema = connection.scalar(sa.select(sa.func.current_schema()))
        self._place = f"{schema}:{study}"
        self.journal: Journal = PostgresJournal(engine, study, _number(self._place, 8))

    def lease(self) -> "PostgresLease":
        """Begin to be a worker."""
        return PostgresLease(self._engine, self._study, _number(self._place, 4))

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold the right to decide, for as long as that takes."""
        number = _number(f"{self._place}:decision", 8)
        with _usable(self._study):
            connection = _own(self._engine)
            connection.execute(sa.select(sa.func.pg_advisory_lock(number)))
        try:
            yield
        finally:
            connection.close()


class PostgresJournal(Journal):
    """Rows of one study, numbered in the order in which they were written.

    Args:
        number: of the advisory lock that appends hold one after the other.
    """

    def __init__(self, engine: sa.Engine, study: str, number: int) -> None:
        super().__init__()
        self._engine, self._study, self._number = engine, study, number
        self._open: sa.Connection | None = None

    def _stored(self, first: int) -> Iterator[Log]:
        table = study_journal
        mine = (table.c.study == self._study) & (table.c.number >= first)
        query = sa.select(table.c.line).where(mine).order_by(table.c.number)
        with _usable(self._study), self._reading() as connection:
            found = connection.scalars(query).all()
        yield from map(json.loads, found)

    def _store(self, logs: Sequence[Mapping[str, Any]]) -> None:
        assert self._open is not None
        table = study_journal
        last = sa.select(sa.func.max(table.c.number)).where(table.c.study == self._study)
        found = self._open.scalar(last)
        first = 0 if found is None else found + 1
        rows = [
            {"study": self._study, "number": first + i, "line": json.dumps(log)}
            for i, log in enumerate(logs)
        ]
        self._open.execute(sa.insert(table), rows)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with _usable(self._study), self._engine.begin() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:.0f}s'"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(self._number)))
            self._open = connection
            try:
                yield
            finally:
                self._open = None

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        if self._open is not None:
            yield self._open
            return
        with reading(self._engine) as connection:
            yield connection


class PostgresLease:
    """An advisory lock of a connection of its own, taken again where that broke.

    `worker` is the lock's second number; the first one says the study.
    """

    def __init__(self, engine: sa.Engine, study: str, number: int) -> None:
        self._engine, self._study, self._number = engine, study, number
        self._mine = secrets.randbits(31)
        self.worker = f"{self._mine:08x}"
        self._settled_at = 0.0
        with _usable(study):
            self._connection = self._taken()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def others(self) -> set[str]:
        """Return the other workers that live; waits where the server was away a moment ago.

        Raises:
            StudyUnavailableError: the database does not answer.
        """
        sleep(max(0.0, self._settled_at - monotonic()))
        query = sa.text(
            "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
            " AND granted AND classid::bigint = :study AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with _usable(self._study), reading(self._engine) as connection:
            held = set(connection.scalars(query, {"study": self._number}))
        return {f"{number:08x}" for number in held - {self._mine}}

    def release(self) -> None:
        """End the lease."""
        self._ending.set()
        self._thread.join()
        with suppress(*AWAY):
            self._connection.close()

    def _keep(self) -> None:
        while not self._ending.wait(BEAT_SECONDS):
            if self._stands():
                continue
            with suppress(*AWAY):
                self._connection.close()
                self._connection = self._taken()
            self._settled_at = monotonic() + SETTLED_SECONDS

    def _stands(self) -> bool:
        if self._connection.closed:
            return False
        try:
            self._connection.execute(sa.select(1))
        except AWAY:
            return False
        return True

    def _taken(self) -> sa.Connection:
        connection = _own(self._engine)
        for name, value in GONE_AFTER.items():
            connection.execute(sa.text(f"SET {name} = {value}"))
        connection.execute(sa.select(sa.func.pg_advisory_lock(self._number, self._mine)))
        return connection


def _own(engine: sa.Engine) -> sa.Connection:
    """Return a connection outside the pool; closing it gives its locks back."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()
    return connection


def _number(text: str, n_bytes: int) -> int:
    """Return a positive number of an advisory lock; of 4 bytes, or of 8."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:n_bytes], "big") >> 1


@contextmanager
def _usable(study: str) -> Iterator[None]:
    """Say in one line that the database is away.

    Raises:
        StudyUnavailableError: it is.
    """
    try:
        yield
    except AWAY as exc:
        raise StudyUnavailableError(study, cause_of(exc)) from exc
