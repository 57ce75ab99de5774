"""docs/operations.md names every state that a person can meet."""

from pathlib import Path

import pytest

from monitoring.cycles import State
from pipelines.jobs.job import STATES

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", [*STATES, *State])
def test_every_state_is_documented(name):
    assert name in TEXT
