"""The journal and the leases: what a killed worker leaves does not stop the others."""

import multiprocessing
import os
import shutil
import signal
import time

import pytest

from pipelines.tuning.journal import FileJournal
from pipelines.tuning.leases import Lease
from registry.errors import StudyUnavailableError


def lines(journal):
    return [log["n"] for log in journal.read_logs(0)]


def append(path, numbers):
    journal = FileJournal(path)
    for n in numbers:
        journal.append_logs([{"n": n}])


def test_what_is_appended_is_read_from_any_line_on(tmp_path):
    journal = FileJournal(tmp_path / "log")
    journal.append_logs([{"n": 1}, {"n": 2}])
    assert lines(journal) == [1, 2]
    append(tmp_path / "log", [3])  # another process
    assert [log["n"] for log in journal.read_logs(2)] == [3]
    assert lines(journal) == lines(FileJournal(tmp_path / "log")) == [1, 2, 3]


def test_a_line_that_was_cut_off_is_removed_before_the_next(tmp_path):
    path = tmp_path / "log"
    append(path, [1])
    with path.open("ab") as file:
        file.write(b'{"n":')
    journal = FileJournal(path)
    assert lines(journal) == [1]
    journal.append_logs([{"n": 2}])
    assert lines(journal) == lines(FileJournal(path)) == [1, 2]


def test_a_journal_that_holds_nothing_but_half_a_line_begins_anew(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"n"')
    append(path, [7])
    assert lines(FileJournal(path)) == [7]


def test_a_folder_that_is_gone_is_said_in_one_line(tmp_path):
    folder = tmp_path / "vol"
    folder.mkdir()
    journal = FileJournal(folder / "log")
    shutil.rmtree(folder)
    for use in (lambda: journal.append_logs([{"n": 1}]), lambda: lines(journal)):
        with pytest.raises(StudyUnavailableError, match="'vol' cannot be used now .*No such file"):
            use()


def hold_the_lock(path):
    journal = FileJournal(path)
    journal._lock.acquire()
    (path.parent / "held").touch()
    time.sleep(60)


def hold_a_lease(folder):
    lease = Lease(folder)
    (folder / "name").write_text(lease.worker)
    time.sleep(60)


def killed_after(target, argument, sign):
    """Run a function in a process of its own, and kill it when the file `sign` is there."""
    process = multiprocessing.get_context("fork").Process(target=target, args=(argument,))
    process.start()
    while not (sign.exists() and (sign.name == "held" or sign.read_text())):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_worker_killed_with_the_lock_does_not_stop_the_others(tmp_path):
    killed_after(hold_the_lock, tmp_path / "log", tmp_path / "held")
    began = time.monotonic()
    append(tmp_path / "log", [1])
    assert time.monotonic() - began < 1


def test_the_lease_of_a_killed_worker_has_ended(tmp_path):
    mine, theirs = Lease(tmp_path), Lease(tmp_path)
    assert mine.others() == {theirs.worker} and theirs.others() == {mine.worker}
    killed_after(hold_a_lease, tmp_path, tmp_path / "name")
    assert mine.others() == {theirs.worker}
    theirs.release()
    assert mine.others() == set()
    mine.release()
    assert not list(tmp_path.glob("*.lease"))
