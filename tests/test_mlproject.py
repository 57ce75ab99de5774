"""The MLproject says what the stages take, conda.yaml what the lock pins."""

import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines import mlproject
from pipelines.parameters import parse

ROOT = Path(__file__).resolve().parents[1]
OF_A_RUN = ("training", "monitoring", "postgres", "coreml")


def test_the_file_is_what_its_parameter_classes_say() -> None:
    assert (ROOT / "MLproject").read_text() == mlproject.render(), "run `make mlproject`"


@pytest.mark.parametrize("entry_point", mlproject.ENTRY_POINTS)
def test_mlflow_reads_every_entry_point_with_its_defaults(entry_point: str) -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    entry = project["entry_points"][entry_point]
    module = mlproject.ENTRY_POINTS[entry_point]
    given = {k: shlex.quote(str(v["default"])) for k, v in entry.get("parameters", {}).items()}
    line = shlex.split(entry["command"].format_map(given))
    assert line[:3] == ["python", "-m", module]
    groups = mlproject.groups_of(module)
    assert parse(line[3:], "summary", *groups) == [group() for group in groups]


@pytest.mark.parametrize("module", mlproject.ENTRY_POINTS.values())
def test_every_stage_reads_an_empty_command_line_and_explains_itself(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = mlproject.groups_of(module)
    assert parse([], "summary", *groups) == [group() for group in groups]
    with pytest.raises(SystemExit):
        parse(["--help"], "summary", *groups)
    shown = capsys.readouterr().out
    assert all(f"--{f.name} " in shown for group in groups for f in fields(group))


def test_conda_yaml_is_what_a_run_imports_pinned_as_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(r for name in OF_A_RUN for r in extras[name])]
    pins = {name_of(line): line for line in (ROOT / "requirements.lock").read_text().splitlines()}
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    names = {name for requirement in needed for name in names_of(Requirement(requirement))}
    assert set(conda["dependencies"][-1]["pip"]) == {pins[name] for name in names}


def name_of(pin: str) -> str:
    return canonicalize_name(pin.partition("==")[0])


def names_of(requirement: Requirement) -> list[str]:
    """`psycopg[binary]` is two distributions: psycopg and psycopg-binary."""
    with_extras = [f"{requirement.name}-{extra}" for extra in requirement.extras]
    return [canonicalize_name(name) for name in (requirement.name, *with_extras)]
