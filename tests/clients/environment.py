"""An environment in which only the client and what it needs can be imported."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

CLIENT = Path(__file__).resolve().parents[2] / "client"
RUN = """import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def install(directory: Path) -> Path:
    """Install the client from its folder as pip does; link httpx and pydantic beside it."""
    source, site = directory / "source", directory / "site"
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(CLIENT, source, ignore=ignored)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PIP_NO_INPUT": "1"})
    for needed in _closure("nautilus-ml-client", requirements_of_client(site)):
        _link(needed, site)
    return site


def command(site: Path, script: Path) -> list[str]:
    """Return how to run a script with the standard library and this folder alone."""
    return [sys.executable, "-I", "-S", "-c", RUN, str(site), str(script)]


def requirements_of_client(site: Path) -> list[str]:
    """Return what the installed client says it needs."""
    [found] = Distribution.discover(name="nautilus-ml-client", path=[str(site)])
    return found.requires or []


def _closure(name: str, requires: list[str], known: set[str] | None = None) -> Iterator[str]:
    seen = {name} if known is None else known
    for text in requires:
        needed = Requirement(text)
        is_wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if is_wanted and needed.name not in seen:
            seen.add(needed.name)
            yield needed.name
            yield from _closure(needed.name, distribution(needed.name).requires or [], seen)


def _link(name: str, site: Path) -> None:
    found = distribution(name)
    for top in {Path(str(file)).parts[0] for file in found.files or ()}:
        if top != ".." and not (site / top).exists():
            (site / top).symlink_to(Path(str(found.locate_file(top))).resolve())
