"""A study in a folder: what a killed worker or a full disk leaves does not stop the others."""

import multiprocessing
import os
import resource
import shutil
import signal
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from pipelines.tuning.storage.files import FileJournal, FileLease
from pipelines.tuning.studies import KeptStudy
from registry.errors import DamagedStudyError, StudyUnavailableError


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


def test_changes_made_together_are_kept_whole_or_not_at_all(tmp_path):
    path = tmp_path / "log"
    journal = FileJournal(path)
    append(path, [1])
    with journal.together():
        journal.append_logs([{"n": 2}])
        assert lines(journal) == [1, 2], "within the block they are seen"
        assert lines(FileJournal(path)) == [1], "and nowhere else"
        journal.append_logs([{"n": 3}, {"n": 4}])
    assert lines(journal) == lines(FileJournal(path)) == [1, 2, 3, 4]
    whole = path.read_bytes()
    for cut in range(len(b'{"n":1}\n'), len(whole)):  # wherever a disk or a machine stopped
        path.write_bytes(whole[:cut])
        assert lines(FileJournal(path)) == [1]
        append(path, [5])
        assert lines(FileJournal(path)) == [1, 5]


def test_a_block_that_fails_changes_nothing(tmp_path):
    journal = FileJournal(tmp_path / "log")
    with pytest.raises(KeyboardInterrupt), journal.together():
        journal.append_logs([{"n": 1}])
        raise KeyboardInterrupt
    assert lines(journal) == []


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path):
    path = tmp_path / "log"
    append(path, [1])
    before, journal = path.read_bytes(), FileJournal(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(StudyUnavailableError, match="cannot be used now"):
            journal.append_logs([{"n": 2, "text": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    append(path, [3])
    assert lines(journal) == [1, 3]


@pytest.mark.parametrize("damage", [b"{\x00\n", b"7\n", b"\n"])
def test_a_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "log"
    append(path, [1])
    path.write_bytes(path.read_bytes() + damage + b'{"n":2}\n')
    with pytest.raises(DamagedStudyError, match="is damaged at line 2 .*; restore it"):
        lines(FileJournal(path))


def test_optuna_reads_the_journal_with_its_own_tools(tmp_path):
    study = KeptStudy(tmp_path / "s", "s")
    study.make({"a": 1}, higher_is_better=False)
    theirs = JournalStorage(JournalFileBackend(str(tmp_path / "s" / "journal.log")))
    assert optuna.load_study(study_name="s", storage=theirs).user_attrs == {"facts": {"a": 1}}


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
    lease = FileLease(folder)
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
    mine, theirs = FileLease(tmp_path), FileLease(tmp_path)
    assert mine.others() == {theirs.worker} and theirs.others() == {mine.worker}
    killed_after(hold_a_lease, tmp_path, tmp_path / "name")
    assert mine.others() == {theirs.worker}
    theirs.release()
    assert mine.others() == set()
    mine.release()
    assert not list(tmp_path.glob("*.lease"))
