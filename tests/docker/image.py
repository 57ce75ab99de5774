"""The Dockerfiles without a container engine: their lines, and a folder with what they copy."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docker.compose_file import ROOT

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


def instructions(name: str) -> list[tuple[str, str]]:
    """Return instruction and rest of every line of docker/NAME.Dockerfile.

    A line that ends with a backslash goes on.
    """
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    joined = re.sub(r"\\\n", " ", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def of(name: str, word: str) -> list[str]:
    """Return what stands behind every instruction of one kind."""
    return [rest for found, rest in instructions(name) if found == word]


def copied(name: str) -> list[str]:
    """Return the files and folders of the repository that the image holds."""
    final = [rest.split() for rest in of(name, "COPY")[1:] if not rest.startswith("--from=")]
    return [source for *sources, _ in final for source in sources]


def lay_out(name: str, folder: Path) -> Path:
    """Make a folder with what the image has in /app."""
    for source in copied(name):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=IGNORED)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, folder / source)
    return folder


def install(name: str, folder: Path) -> Path:
    """Do what the first stage does, in a folder; return the bin of its environment."""
    build = folder / "build"
    build.mkdir(parents=True)
    for source in of(name, "COPY")[0].split()[:-1]:
        shutil.copy(ROOT / source, build / source)
    defaults = dict(rest.split("=", 1) for rest in of(name, "ARG"))
    (line,) = [rest for rest in of(name, "RUN") if "pip install" in rest]
    line = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]].strip('"'), line)
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    words = [word.replace("/opt/venv", str(venv)) for word in shlex.split(line)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*words, "--quiet"], cwd=build, env=alone, check=True)
    return venv / "bin"
