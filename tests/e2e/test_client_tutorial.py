"""docs/client.md, from a CSV to a watched model, where nothing but the client is installed."""

import re
import subprocess
from pathlib import Path

import pytest

from registry import events
from tests.clients import environment

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.xdist_group("platform"),
]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text()
TUTORIAL = PAGE[PAGE.index("\n## From a CSV") : PAGE.index("\n## Asking")]
DATA, SCRIPT = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
ADDRESS = "http://127.0.0.1:8400"


def test_the_script_has_twenty_lines_at_most():
    assert len([line for line in SCRIPT.splitlines() if line.strip()]) <= 20


def test_the_tutorial_runs_with_the_client_alone(platform, tmp_path):
    site, here = environment.install(tmp_path / "client"), tmp_path / "here"
    (here / "var").mkdir(parents=True)
    (here / "var" / "key").write_text(f"{platform.key}\n")
    assert SCRIPT.count(ADDRESS) == 1
    (here / "tutorial.py").write_text(DATA + SCRIPT.replace(ADDRESS, platform.url))
    done = subprocess.run(
        environment.command(site, here / "tutorial.py"),
        cwd=here,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    old, young, state = done.stdout.splitlines()
    assert old.startswith("{'age': 79, 'city': 'Rome'} high ")
    assert young.startswith("{'age': 19, 'city': 'Oslo'} low ")
    assert state == "serving 1 watched"
    assert "main: " in done.stderr  # the job's stages
    happened = [event.kind for event in events.read(platform.database, "loans")]
    assert happened[0] == "model_created"
    assert "promoted" in happened
