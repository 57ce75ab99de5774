"""The MLproject says what the stages take, conda.yaml what the lock pins."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monitoring.drift import DriftParameters
from monitoring.refits import RefitParameters
from monitoring.retraining import AdvanceParameters
from pipelines.convert import ConvertParameters
from pipelines.parameters import (
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
    parse,
)
from pipelines.replay import ReplayParameters
from pipelines.synthesize import SynthesisParameters
from pipelines.validate import ValidateParameters

ROOT = Path(__file__).resolve().parents[1]
OF_A_RUN = ("training", "monitoring", "postgres")
GROUPS = {
    "main": (SourceParameters, RecipeParameters, JudgementParameters, PromotionParameters),
    "train": (SourceParameters, RecipeParameters),
    "validate": (ValidateParameters, JudgementParameters),
    "convert": (ConvertParameters, PromotionParameters),
    "replay": (ReplayParameters,),
    "synthesize": (SourceParameters, SynthesisParameters),
    "drift": (DriftParameters,),
    "advance": (AdvanceParameters,),
    "refit": (RefitParameters,),
    "schedule": (),
}
MODULES = {
    name: f"pipelines.{name}"
    for name in ("main", "train", "validate", "convert", "replay", "synthesize")
} | {
    "drift": "monitoring.drift",
    "advance": "monitoring.retraining",
    "refit": "monitoring.refits",
    "schedule": "monitoring.schedule",
}


@pytest.mark.parametrize("entry_point", GROUPS)
def test_mlproject_declares_exactly_the_stage_parameters(entry_point: str) -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    entry = project["entry_points"][entry_point]
    declared = {k: str(v["default"]) for k, v in entry.get("parameters", {}).items()}
    known = {f.name: f.default for group in GROUPS[entry_point] for f in fields(group)}
    assert declared == {
        k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in known.items()
    }
    assert entry["command"].split()[:3] == ["python", "-m", MODULES[entry_point]]
    for name in known:
        assert f"--{name} {{{name}}}" in " ".join(entry["command"].split())


@pytest.mark.parametrize("entry_point", GROUPS)
def test_every_stage_reads_an_empty_command_line_and_explains_itself(
    entry_point: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = GROUPS[entry_point]
    assert parse([], MODULES[entry_point], "summary", *groups) == [group() for group in groups]
    with pytest.raises(SystemExit):
        parse(["--help"], MODULES[entry_point], "summary", *groups)
    shown = capsys.readouterr().out
    assert all(f"--{f.name} " in shown for group in groups for f in fields(group))


def test_every_entry_point_of_the_project_is_known_here() -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert set(project["entry_points"]) == set(GROUPS)


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
