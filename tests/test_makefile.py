"""The Makefile works wherever the checkout lies, also in a folder with a space in its name."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TARGETS = re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
TOOLS = ("python", "honcho", "ruff", "mypy", "lint-imports", "pytest")
SAYS = '#!/bin/sh\nprintf "%s" "$(basename "$0")"\nprintf "|%s" "$@"\nprintf "\\n"\n'


@pytest.fixture
def checkout(tmp_path):
    """A folder with a space that has the Makefile, and tools that only say how they are called."""
    folder = tmp_path / "a b" / "engine"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name in TOOLS:
        tool = folder / ".venv" / "bin" / name
        tool.write_text(SAYS)
        tool.chmod(0o755)
    return folder


def made(checkout, *line, **environment):
    done = subprocess.run(
        ["make", "-s", *line],
        cwd=checkout,
        env={k: v for k, v in os.environ.items() if k != "DATA_DIR"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("target", [t for t in TARGETS if t not in ("clean", "help", "install")])
def test_every_target_calls_the_tools_of_its_own_folder(checkout, target):
    (checkout / ".venv" / ".installed").touch()
    said = made(checkout, target)
    assert said
    assert {line.partition("|")[0] for line in said} <= set(TOOLS)


def test_installing_runs_pip_there(checkout):
    said = made(checkout, "install", "PYTHON=true")
    assert said[0].startswith("python|-m|pip|install|")
    assert (checkout / ".venv" / ".installed").exists()


def test_a_key_goes_into_a_folder_with_a_space(checkout):
    (checkout / ".venv" / ".installed").touch()
    said = made(checkout, "up", DATA_DIR="/data of mine")
    assert said[0].endswith("|--file|/data of mine/key")


def test_cleaning_and_helping_need_no_tool(checkout):
    (checkout / "var").mkdir()
    made(checkout, "clean")
    assert not (checkout / "var").exists()
    assert len(made(checkout, "help")) >= 10
