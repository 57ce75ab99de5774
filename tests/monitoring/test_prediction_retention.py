import fcntl
import os
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from monitoring import reports
from monitoring.performance import RECENT_BARS
from monitoring.prediction_files import ModelFolder, write_file
from monitoring.prediction_log import read_predictions
from monitoring.prediction_retention import remove_old
from monitoring.prediction_rows import frame_of
from monitoring.schedule import main
from registry import managed_models
from registry.tables import retraining_cycles
from tests.examples import make_logged

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, 21, tzinfo=UTC)
N_DAYS = 90
HORIZON = 5  # of the small world's contract


@pytest.fixture
def folder(settings, world):
    return ModelFolder(settings.predictions_dir / world.model)


@pytest.fixture
def write(folder, world):
    """Log a row of version 1 for each of some days, counted from the first of January 2026."""

    def write(days, **changes):
        for day in days:
            at = START + day * DAY
            facts = {
                "request_id": "r",
                "served_at": at,
                "as_of": at,
                "model_id": world.model,
                "version": 1,
                "flavor": "onnx",
                "backend": "cpu",
                "symbol": "AAPL",
                "latency_ms": 1.0,
                "features": [0.0] * 4,
                "scores": [0.25],
                "answer": "{}",
                "source_kind": "bars",
            } | changes
            frame = frame_of([make_logged(facts)])
            write_file(folder.of_day(facts["served_at"].date()), frame)

    return write


@pytest.fixture
def served(engine, world):
    """Version 1 of the small world is in production."""
    world.insert_version(engine, 1)
    world.serve(engine, 1)


def first_kept(folder) -> int:
    return (folder.days()[0] - START.date()).days


def test_nothing_is_removed_unless_it_is_asked_for(engine, settings, folder, write):
    write([0, 100, 101])
    assert remove_old(engine, settings, 0) == {}
    assert len(folder.days()) == 3


def test_days_count_back_from_the_newest_but_one(engine, settings, folder, write, world):
    write(range(12))
    assert remove_old(engine, settings, 3) == {world.model: 7}
    assert first_kept(folder) == 7
    assert len(read_predictions(settings.predictions_dir, world.model)) == 5
    assert remove_old(engine, settings, 3) == {}


def test_a_clock_that_jumps_ahead_removes_nothing(engine, settings, folder, write):
    write(range(3))
    write([0], served_at=datetime(2099, 1, 1, tzinfo=UTC))
    assert remove_old(engine, settings, 3) == {}
    assert folder.days()[-1] == date(2099, 1, 1)


def test_the_last_days_of_a_model_that_is_asked_no_more_stay(engine, settings, folder, write):
    write([0])
    assert remove_old(engine, settings, 1) == {}
    assert len(folder.files()) == 1


def test_what_the_next_window_and_the_losses_need_is_kept(engine, settings, folder, write, served):
    write(range(N_DAYS))
    remove_old(engine, settings, 10)
    assert first_kept(folder) == N_DAYS - RECENT_BARS - HORIZON


def test_several_answers_for_one_time_are_one_time(engine, settings, folder, write, served):
    write(range(N_DAYS))
    write(range(N_DAYS - 30, N_DAYS), symbol="MSFT")
    write(
        range(N_DAYS - 40, N_DAYS), version=2, symbol="XOM"
    )  # a version that is not in production
    remove_old(engine, settings, 10)
    assert first_kept(folder) == N_DAYS - RECENT_BARS - HORIZON


def test_windows_that_were_not_judged_yet_are_kept(engine, settings, folder, write, served, world):
    write(range(N_DAYS))
    report = world.make_report((START + 80 * DAY - world.start) // DAY)
    with engine.begin() as connection:
        assert reports.save(connection, report)
    remove_old(engine, settings, 10)
    last_judged = (report.window_end - START) // DAY
    assert first_kept(folder) == last_judged + 1 - RECENT_BARS - HORIZON


def test_a_version_that_has_logged_too_little_keeps_it(engine, settings, folder, write, served):
    write([0, 100, 101, 102])
    assert remove_old(engine, settings, 10) == {}


def test_a_model_that_nobody_watches_keeps_nothing_for_drift(
    engine, settings, folder, write, served, world
):
    write(range(N_DAYS))
    managed_models.describe(engine, world.model, {"watched": False}, actor="ada")
    remove_old(engine, settings, 10)
    assert first_kept(folder) == N_DAYS - 2 - 10


def test_while_a_retraining_cycle_is_open_nothing_is_removed(
    engine, settings, folder, write, world
):
    write(range(12))
    facts = {"state": "TRAINING", "champion": 1, "trigger": "data_drift", "reason": "r"}
    facts |= {"model_id": world.model, "as_of": START, "evidence": {}, "opened_at": START}
    with engine.begin() as connection:
        connection.execute(retraining_cycles.insert().values(facts))
    assert remove_old(engine, settings, 3) == {}
    with engine.begin() as connection:
        connection.execute(sa.update(retraining_cycles).values(closed_at=START))
    assert remove_old(engine, settings, 3) == {world.model: 7}


def test_files_of_release_0_1_of_a_silent_model_grow_old_as_well(
    engine, settings, folder, write, world
):
    write(range(12))
    for path in folder.files():
        path.rename(folder.directory / path.name)
    for day in folder.days():
        folder.of_day(day).rmdir()
    assert remove_old(engine, settings, 3) == {world.model: 7}
    assert len(read_predictions(settings.predictions_dir, world.model)) == 5


def test_damaged_and_unfinished_files_go_with_their_day(engine, settings, folder, write):
    write(range(12))
    (folder.of_day(folder.days()[0]) / "x.damaged").write_bytes(b"")
    (folder.of_day(folder.days()[1]) / "x.unfinished").write_bytes(b"")
    remove_old(engine, settings, 3)
    assert first_kept(folder) == 7


def test_a_model_whose_files_are_merged_now_waits(engine, settings, folder, write):
    write(range(12))
    descriptor = os.open(folder.directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert remove_old(engine, settings, 3) == {}
    os.close(descriptor)
    assert len(folder.days()) == 12


def test_a_model_that_cannot_be_cleaned_stops_no_other(
    engine, settings, folder, write, world, monkeypatch
):
    write(range(12))
    other = ModelFolder(settings.predictions_dir / "a")
    for path in folder.files():
        target = other.directory / path.relative_to(folder.directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    real = ModelFolder.of_day

    def of_day(each, day):
        if each.directory == other.directory:
            raise PermissionError(13, "Permission denied")
        return real(each, day)

    monkeypatch.setattr(ModelFolder, "of_day", of_day)
    assert remove_old(engine, settings, 3) == {world.model: 7}


def test_the_schedule_removes_them(settings, engine, folder, write, monkeypatch):
    write(range(12))
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DATABASE_URL", settings.engine_url)
    monkeypatch.setenv("PREDICTION_LOG_RETENTION_DAYS", "3")
    main([])
    assert first_kept(folder) == 7
