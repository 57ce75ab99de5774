"""docs/managing.md, as a new user would type it: three processes, a key, a shell and curl."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from registry import events

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.xdist_group("platform"),
]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "managing.md").read_text()
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
STARTED_HERE = re.compile(r"^(make up|KEY=|URL=).*$", re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_command_of_the_page(platform, tmp_path):
    script = "set -euo pipefail\n" + STARTED_HERE.sub("", COMMANDS)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | platform.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert '"class":"high"' in done.stdout
    assert '"accepted":1' in done.stdout
    assert '"state":"done"' in done.stdout
    history = [(event.kind, event.number) for event in events.read(platform.database, "risks")]
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
    key = platform.key.partition(".")[0]
    assert {
        event.actor for event in events.read(platform.database, "risks") if event.kind in MOVES
    } == {key}
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert answers


MOVES = (
    *("model_created", "promoted", "rolled_back", "withdrawn"),
    *("model_archived", "model_restored"),
)
