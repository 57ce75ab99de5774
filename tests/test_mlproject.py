"""The MLproject says what the stages take, conda.yaml what the lock pins."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from monitoring.drift import DriftParameters
from monitoring.retraining import AdvanceParameters
from pipelines.convert import ConvertParameters
from pipelines.parameters import (
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
)
from pipelines.validate import ValidateParameters

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    "main": (SourceParameters, RecipeParameters, JudgementParameters, PromotionParameters),
    "train": (SourceParameters, RecipeParameters),
    "validate": (ValidateParameters, JudgementParameters),
    "convert": (ConvertParameters, PromotionParameters),
    "drift": (DriftParameters,),
    "advance": (AdvanceParameters,),
}
MODULES = {name: f"pipelines.{name}" for name in ("main", "train", "validate", "convert")} | {
    "drift": "monitoring.drift",
    "advance": "monitoring.retraining",
}


@pytest.mark.parametrize("entry_point", GROUPS)
def test_mlproject_declares_exactly_the_stage_parameters(entry_point: str) -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    entry = project["entry_points"][entry_point]
    declared = {k: str(v["default"]) for k, v in entry["parameters"].items()}
    known = {f.name: f.default for group in GROUPS[entry_point] for f in fields(group)}
    assert declared == {
        k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in known.items()
    }
    assert entry["command"].split()[:3] == ["python", "-m", MODULES[entry_point]]
    for name in known:
        assert f"--{name} {{{name}}}" in " ".join(entry["command"].split())


def test_every_entry_point_of_the_project_is_known_here() -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert set(project["entry_points"]) == set(GROUPS)


def test_conda_yaml_pins_what_the_lock_pins() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    lock = set((ROOT / "requirements.lock").read_text().splitlines())
    assert set(conda["dependencies"][-1]["pip"]) <= lock
