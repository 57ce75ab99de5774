import subprocess
import time

import pytest

from pipelines.jobs import process_tree

NESTED = "sleep 60 & setsid sleep 60 & (sleep 60 & wait) & echo ready; wait"


@pytest.fixture
def start():
    started = []

    def run(command: str, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            ["bash", "-c", command], start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process_tree.end_tree(process.pid, 0.1)
        process.communicate()


def below_when(pid: int, n_processes: int) -> list[int]:
    deadline = time.monotonic() + 5
    while len(found := [p.pid for p in process_tree.below(pid)]) < n_processes:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.mark.integration
@pytest.mark.parametrize("source", ["proc", "ps"])
def test_children_grandchildren_and_those_with_a_session_of_their_own_are_ended(
    start, is_alive, source, monkeypatch, tmp_path
):
    if source == "ps":
        monkeypatch.setattr(process_tree, "PROC", tmp_path / "none")
    leader = start(NESTED)
    pids = below_when(leader.pid, 4)
    process_tree.end_tree(leader.pid, 1.0)
    assert not [pid for pid in pids if is_alive(pid)]


@pytest.mark.integration
def test_what_does_not_listen_is_killed(start, is_alive):
    deaf = "trap '' TERM; sleep 60; true"
    leader = start(f'setsid bash -c "{deaf}" & echo ready; {deaf}')
    pids = below_when(leader.pid, 3)
    started = time.monotonic()
    process_tree.end_tree(leader.pid, 0.3)
    assert time.monotonic() - started < 3
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_process_that_has_ended_is_nobody():
    process = subprocess.Popen(["true"])
    process.wait()
    assert list(process_tree.below(process.pid)) == []
    process_tree.end_tree(process.pid, 0.1)
