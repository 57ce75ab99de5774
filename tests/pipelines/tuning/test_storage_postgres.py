"""A study in the engine database on PostgreSQL: leases that end with their worker, not before."""

import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from pipelines.tuning.storage import postgres
from pipelines.tuning.storage.postgres import PostgresStorage
from pipelines.tuning.studies import KeptStudy
from registry.database import connect
from registry.errors import StudyUnavailableError
from registry.settings import PlatformSettings

HELD = """
import sys, time
from pipelines.tuning.storage.postgres import PostgresStorage
from registry.database import connect
from registry.settings import PlatformSettings
lease = PostgresStorage(connect(PlatformSettings(database_url=sys.argv[1])), "s").lease()
print(lease.worker, flush=True)
time.sleep(60)
"""


@pytest.fixture
def storage(postgres_engine):
    return PostgresStorage(postgres_engine, "s")


def within(seconds, asked):
    deadline = time.monotonic() + seconds
    while not (found := asked()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.integration
def test_the_lease_of_a_worker_killed_on_another_machine_ends_at_once(storage, postgres_settings):
    mine = storage.lease()
    command = [sys.executable, "-c", HELD, postgres_settings.database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as theirs:
        worker = theirs.stdout.readline().strip()
        assert mine.others() == {worker}
        theirs.kill()
    assert within(5, lambda: not mine.others())
    mine.release()


def test_leases_of_other_studies_and_schemas_are_not_ours(storage, postgres_engine):
    mine, other = storage.lease(), PostgresStorage(postgres_engine, "t").lease()
    assert mine.others() == other.others() == set()
    other.release()
    mine.release()


def test_a_lease_whose_connection_broke_is_taken_again(storage, postgres_engine, monkeypatch):
    monkeypatch.setattr(postgres, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "SETTLED_SECONDS", 0.3)
    mine, theirs = storage.lease(), storage.lease()
    with postgres_engine.begin() as connection:
        end = sa.text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
            " AND objsubid = 2 AND classid::bigint = :study"
        )
        assert connection.scalar(end, {"study": mine._number}) == 2
    assert within(5, lambda: mine._settled_at and theirs._settled_at)
    assert mine.others() == {theirs.worker}, "it waits until both have had time to return"
    assert theirs.others() == {mine.worker}
    for lease in (mine, theirs):
        lease.release()


def test_a_transaction_that_breaks_leaves_the_journal_as_it_was(storage):
    journal = storage.journal
    with pytest.raises(StudyUnavailableError, match="terminating connection"), journal.together():
        journal.append_logs([{"n": 1}])
        journal._open.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert list(journal.read_logs(0)) == []
    journal.append_logs([{"n": 2, "x": float("inf")}])
    assert list(journal.read_logs(0)) == [{"n": 2, "x": float("inf")}]


def test_a_server_that_is_away_is_said_in_one_line(tmp_path):
    address = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    engine = connect(PlatformSettings(data_dir=tmp_path, database_url=address))
    with pytest.raises(StudyUnavailableError, match="'s' cannot be used now .*refused"):
        KeptStudy(engine, "s")
    engine.dispose()


def test_only_one_worker_decides_at_a_time(storage, postgres_engine):
    other = PostgresStorage(postgres_engine, "s")
    free = sa.select(sa.func.pg_try_advisory_lock(postgres._number(f"{other._place}:decision", 8)))
    with storage.deciding(), postgres_engine.connect() as connection:
        assert connection.scalar(free) is False
    with other.deciding():
        pass
