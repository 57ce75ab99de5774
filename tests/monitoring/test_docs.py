from pathlib import Path

import pytest

from monitoring.cycles import State
from monitoring.settings import MonitoringSettings, PredictionLogSettings
from monitoring.triggers import TRIGGERS
from pipelines.jobs import STATES
from pipelines.worker import WorkerSettings

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SETTINGS = [
    name.upper()
    for kind in (MonitoringSettings, PredictionLogSettings, WorkerSettings)
    for name in kind.model_fields
]


@pytest.mark.parametrize("name", [*SETTINGS, *TRIGGERS, *STATES, *State])
def test_every_setting_trigger_and_state_is_documented(name):
    assert name in TEXT
