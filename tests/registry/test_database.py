import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from registry import database, tables, trials
from registry.database import (
    REVISION,
    VERSION_TABLE,
    found_revision,
    open_engine,
    opened_engine,
    reading,
)
from registry.errors import DatabaseNotMigratedError, DatabaseUnavailableError
from registry.trial_data import untold
from registry.trials import Trial, TrialReturns

OPEN = (
    "import sys; from pathlib import Path; from registry.database import open_engine; "
    "from registry.settings import PlatformSettings; "
    "open_engine(PlatformSettings(data_dir=Path(sys.argv[1])))"
)


def schema_differences(engine):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, tables.metadata)


def test_migrations_add_up_to_the_tables_page(engine):
    assert schema_differences(engine) == []


@pytest.mark.postgres
def test_migrations_add_up_to_the_tables_page_on_postgresql(postgres_engine):
    assert schema_differences(postgres_engine) == []


def test_revision_constant_is_the_newest_migration():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(str(database._ROOT / "alembic.ini"))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_embedded_database_has_wal_foreign_keys_and_patience(engine):
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_opening_again_finds_the_same_data_and_migrates_nothing(settings, engine):
    with engine.begin() as connection:
        values = {
            "name": "drift",
            "interval_seconds": 60.0,
            "next_due_at": datetime.now(UTC),
        }
        connection.execute(sa.insert(tables.schedules).values(values))
    again = open_engine(settings)
    with reading(again) as connection:
        assert connection.scalar(sa.select(tables.schedules.c.name)) == "drift"
    again.dispose()


def to_revision(engine, revision, *, up):
    from alembic import command
    from alembic.config import Config

    config = Config(str(database._ROOT / "alembic.ini"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(config, revision)


def back_and_forth(engine):
    day = 86_400_000_000
    data = untold("sha", ("A",), "1d", 0, 9 * day)
    key = trials.count(engine, Trial("returns", "recipe", "m", "run", data, day, False, 0.1))
    series = TrialReturns("recipe", np.arange(3), np.array([0.1, -0.2, 0.3]))
    trials.keep_returns(engine, key, series)
    to_revision(engine, "0003", up=False)
    to_revision(engine, "head", up=True)
    (trial,) = trials.known(engine, "returns")
    assert (trial.recipe, trial.family, trial.sharpe_per_period) == ("recipe", "sha", 0.1)
    (kept,) = trials.known_returns(engine, [trial.id]).values()
    assert kept.returns.tolist() == series.returns.tolist()
    assert schema_differences(engine) == []


def test_trials_survive_going_back_and_forth(engine):
    back_and_forth(engine)


@pytest.mark.postgres
def test_trials_survive_going_back_and_forth_on_postgresql(postgres_engine):
    back_and_forth(postgres_engine)


@pytest.mark.integration
def test_opening_a_current_database_does_not_import_alembic(settings, engine):
    command = OPEN + "; assert 'alembic' not in sys.modules, 'alembic was imported'"
    subprocess.run([sys.executable, "-c", command, str(settings.data_dir)], check=True)


@pytest.mark.integration
def test_several_processes_may_open_a_new_database_at_once(new_settings):
    started = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(new_settings.data_dir)]) for _ in range(3)
    ]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    assert found_revision(database.connect(new_settings)) == REVISION


def test_a_database_of_a_newer_release_is_refused(settings, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(DatabaseNotMigratedError, match="at revision 9999 but 0006 is needed"):
        open_engine(settings)


@pytest.mark.postgres
def test_postgresql_is_never_migrated_implicitly(postgres_settings):
    with pytest.raises(DatabaseNotMigratedError, match="run `make migrate`"):
        open_engine(postgres_settings)


@pytest.mark.postgres
def test_postgresql_opens_once_it_is_migrated(postgres_settings, postgres_engine):
    open_engine(postgres_settings).dispose()


def test_a_server_that_does_not_answer_is_one_clear_line_without_the_password(new_settings):
    url = "postgresql+psycopg://engine:secret@127.0.0.1:1/engine"
    with pytest.raises(DatabaseUnavailableError) as raised:
        open_engine(new_settings.model_copy(update={"database_url": url}))
    assert "does not answer" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_read_then_write_transactions_wait_for_each_other(engine):
    table = tables.schedules
    with engine.begin() as connection:
        values = {
            "name": "n",
            "interval_seconds": 0.0,
            "next_due_at": datetime.now(UTC),
        }
        connection.execute(sa.insert(table).values(values))
    barrier = threading.Barrier(4)

    def add_one(_):
        barrier.wait()
        for _ in range(10):
            with engine.begin() as connection:
                found = connection.scalar(sa.select(table.c.interval_seconds))
                connection.execute(sa.update(table).values(interval_seconds=found + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(4)))
    with reading(engine) as connection:
        assert connection.scalar(sa.select(table.c.interval_seconds)) == 40.0


def test_reading_does_not_wait_for_a_writer(engine):
    with engine.begin() as writer, reading(engine) as reader:
        writer.execute(sa.delete(tables.schedules))
        assert reader.scalar(sa.select(sa.func.count()).select_from(tables.schedules)) == 0


def test_an_opened_engine_is_closed_however_the_work_ends(new_settings):
    with pytest.raises(ZeroDivisionError), opened_engine(new_settings) as engine:
        with reading(engine) as connection:
            connection.execute(sa.text("SELECT 1"))
        assert engine.pool.checkedin() == 1
        _ = 1 / 0
    assert engine.pool.checkedin() == 0


def test_a_server_that_never_accepts_is_given_up_after_seconds(settings):
    url = "postgresql+psycopg://engine@127.0.0.1:1/engine"
    engine = database.connect(settings.model_copy(update={"database_url": url}))
    assert connect_timeout_of(engine) == "5"
    engine = database.connect(
        settings.model_copy(update={"database_url": f"{url}?connect_timeout=2"})
    )
    assert connect_timeout_of(engine) == "2"


def connect_timeout_of(engine):
    """Return what the driver is told."""
    asked = []

    def connect(_dialect, _record, _arguments, given):
        asked.append(str(given["connect_timeout"]))
        raise sa.exc.OperationalError("connect", {}, Exception("asked"))

    sa.event.listen(engine, "do_connect", connect)
    with pytest.raises(sa.exc.OperationalError):
        engine.connect()
    return asked[0]


def test_a_pool_without_a_free_connection_counts_as_away(settings, engine):
    full = sa.create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with full.connect(), pytest.raises(database.AWAY) as raised:
        full.connect()
    assert "QueuePool limit" in database.cause_of(raised.value)
    full.dispose()
