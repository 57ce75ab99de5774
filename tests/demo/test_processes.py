import os
import sys
import time

import pytest

from demo.processes import streaming

PARENT = (
    "import subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print(child.pid, flush=True); child.wait()"
)


@pytest.mark.integration
def test_an_interrupted_command_leaves_no_child_behind(is_alive):
    with pytest.raises(KeyboardInterrupt), streaming([sys.executable, "-c", PARENT]) as process:
        child = int(process.stdout.readline())
        os.kill(child, 0)
        raise KeyboardInterrupt
    assert process.returncode != 0
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


@pytest.mark.integration
def test_a_command_that_ends_keeps_its_status():
    with streaming([sys.executable, "-c", "print('said'); raise SystemExit(3)"]) as process:
        assert process.stdout.read() == "said\n"
        assert process.wait() == 3
    assert process.returncode == 3
