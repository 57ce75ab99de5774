"""The engine database: one SQLAlchemy engine, its pragmas, its migrations.

`open_engine` is the only way in; a command asks `opened_engine` for it, once, and passes it down.
The first process that opens an embedded SQLite file creates and migrates it, under a file lock. A
PostgreSQL server is never migrated implicitly: a person runs `make migrate` once (`python -m
registry.database`).

Transactions: on SQLite `engine.begin()` takes the write lock at once (BEGIN IMMEDIATE). So a read
followed by a write inside it is never based on a stale snapshot, and it waits instead of failing.
`reading(engine)` is a snapshot that waits for nobody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.dialects import postgresql, sqlite

from registry.errors import DatabaseNotMigratedError, DatabaseUnavailableError
from registry.settings import PlatformSettings, read_settings

REVISION = "0006"
"""The schema this code needs; a test compares it with the newest file in migrations/versions."""

VERSION_TABLE = "engine_alembic_version"
BUSY_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
POSTGRES_PATIENCE = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What SQLAlchemy raises when a database does not answer, was restarted, or has no connection free:
asking again later can help. A transaction that ends so has changed nothing, unless the connection
broke while it was committed."""
FOREIGN = "the file holds tables of another program"
_ROOT = Path(__file__).resolve().parent.parent


def open_engine(settings: PlatformSettings) -> sa.Engine:
    """Return an engine whose schema is the one this code needs.

    Safe to call from several processes at once.

    Raises:
        DatabaseNotMigratedError: PostgreSQL at another revision, or a SQLite file written by a
            newer version of this code.
        DatabaseUnavailableError: the server does not answer, or the file cannot be used.
    """
    engine = connect(settings)
    try:
        _ensure_current(engine)
    except OSError as exc:  # of the lock beside the file
        engine.dispose()
        raise DatabaseUnavailableError(_shown(engine), _refused(exc)) from exc
    except Exception:
        engine.dispose()
        raise
    return engine


@contextmanager
def opened_engine(settings: PlatformSettings) -> Iterator[sa.Engine]:
    """Yield what `open_engine` returns; its connections are closed however the work ends."""
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def connect(settings: PlatformSettings) -> sa.Engine:
    """Return an engine without looking at its schema; creates an embedded file's directory.

    Raises:
        DatabaseUnavailableError: the directory cannot be made.
    """
    url = sa.make_url(settings.engine_url)
    if url.get_backend_name() != "sqlite":
        patience = {} if "connect_timeout" in url.query else POSTGRES_PATIENCE
        return sa.create_engine(url, pool_pre_ping=True, connect_args=patience)
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DatabaseUnavailableError(str(url), _refused(exc)) from exc
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to `REVISION`; does nothing when it is there already.

    Raises:
        DatabaseNotMigratedError: the database is at a revision this code does not know.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(str(_ROOT / "alembic.ini"))
    found = found_revision(engine)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseNotMigratedError(_shown(engine), found, REVISION)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def found_revision(engine: sa.Engine) -> str | None:
    """Return the schema's revision, None for a database without our tables.

    Raises:
        DatabaseUnavailableError: the server does not answer, or the file is none of ours.
    """
    try:
        with reading(engine) as connection:
            held = sa.inspect(connection).get_table_names()
            if VERSION_TABLE not in held:
                if held and connection.dialect.name == "sqlite":
                    raise DatabaseUnavailableError(_shown(engine), f"{FOREIGN}: {held[0]}, ...")
                return None
            found = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 (a constant)
    except (*AWAY, sa.exc.DatabaseError) as exc:
        raise DatabaseUnavailableError(_shown(engine), cause_of(exc)) from exc
    return None if found is None else str(found)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that only reads and never waits for a writer (SQLite WAL, PostgreSQL)."""
    with engine.connect().execution_options(reading=True) as connection:
        yield connection


def cause_of(exc: Exception) -> str:
    """Return in one line what the driver said about one of `AWAY`."""
    said = str(getattr(exc, "orig", None) or exc).strip()
    return said.partition("\n")[0]


def _refused(exc: OSError) -> str:
    return f"{exc.strerror or exc}: {exc.filename}" if exc.filename else str(exc)


def insert_for(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """Return the dialect's INSERT, the one that has `on_conflict_do_...`."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def _ensure_current(engine: sa.Engine) -> None:
    found = found_revision(engine)
    if found == REVISION:
        return
    if engine.dialect.name != "sqlite":
        raise DatabaseNotMigratedError(_shown(engine), found, REVISION)
    with FileLock(f"{engine.url.database}.lock", timeout=120):
        migrate(engine)


def _shown(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    is_reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def main() -> None:
    """Migrate the database that DATABASE_URL names."""
    engine = connect(read_settings(PlatformSettings))
    migrate(engine)
    print(f"{_shown(engine)} is at revision {found_revision(engine)}")


if __name__ == "__main__":
    from registry.command_line import run  # which stands above this module

    run(main)
