"""docs/managing.md, as a new user would type it: three processes, a key, a shell and curl."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import running, wait_for
from registry import events
from registry.database import open_engine
from registry.settings import PlatformSettings
from serving.keys import ALL_RIGHTS, key_in

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "managing.md").read_text()
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
STARTED_HERE = re.compile(r"^(make up|KEY=|URL=).*$", re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def platform(tmp_path):
    """The three processes of the Procfile; yields the environment of a shell beside them."""
    data_dir = tmp_path / "var"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        "DATA_DIR": str(data_dir),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "ML_ENGINE_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PATH": path,
    }
    settings = PlatformSettings(data_dir=data_dir, database_url="")
    database = open_engine(settings)
    _, text = key_in(database, data_dir / "key", ALL_RIGHTS, label="test", actor="test")
    url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
    with running(environment, tmp_path / "log") as processes:
        for ready in (f"{environment['MLFLOW_TRACKING_URI']}/health", f"{url}/health"):
            wait_for(ready, 90, processes, tmp_path / "log")
        yield environment | {"KEY": f"X-API-Key: {text}", "URL": url}, database
    database.dispose()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_command_of_the_page(platform, tmp_path):
    environment, database = platform
    script = "set -euo pipefail\n" + STARTED_HERE.sub("", COMMANDS)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert '"class":"high"' in done.stdout
    assert '"accepted":1' in done.stdout
    assert '"state":"done"' in done.stdout
    history = [(event.kind, event.number) for event in events.read(database, "risks")]
    moves = [(kind, number) for kind, number in history if kind in MOVES]
    assert moves == [
        ("model_created", None),
        ("promoted", 1),
        ("promoted", 2),
        ("rolled_back", 1),
        ("withdrawn", 1),
        ("model_archived", None),
        ("model_restored", None),
    ]
    key = environment["KEY"].partition(": ")[2].partition(".")[0]
    assert {event.actor for event in events.read(database, "risks") if event.kind in MOVES} == {key}
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert answers


MOVES = (
    *("model_created", "promoted", "rolled_back", "withdrawn"),
    *("model_archived", "model_restored"),
)
