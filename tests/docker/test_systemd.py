"""The units of docs/operations.md start commands that exist, with variables that are read."""

import re
from configparser import ConfigParser
from importlib.util import find_spec

import pytest

from pipelines.jobs.worker import WorkerSettings
from registry.settings import PlatformSettings
from serving.settings import ServingSettings
from tests.docker.compose_file import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
UNITS = dict(
    re.findall(
        r"`/etc/systemd/system/([\w-]+)\.service`[^`]*(?:`[^`]*`[^`]*)?```ini\n(.*?)```",
        PAGE,
        re.DOTALL,
    )
)
PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
)


def unit(name):
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNITS[name])
    return parser


def test_there_is_a_unit_for_every_process_of_the_procfile():
    started = {unit(name)["Service"]["ExecStart"].partition("/bin/")[2] for name in UNITS}
    assert started == set(PROCFILE.values())
    assert all(find_spec(line.split()[-1]) for line in started)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_as_a_user_that_may_write_its_data_only(name):
    service = unit(name)["Service"]
    assert service["User"] == "nautilus"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/var/lib/nautilus"
    assert service["Restart"] == "always"


def test_every_variable_is_read_by_somebody():
    fields = (*PlatformSettings.model_fields, *ServingSettings.model_fields)
    known = {field.upper() for field in (*fields, *WorkerSettings.model_fields)}
    (environment,) = re.findall(r"```ini\n(DATA_DIR=.*?)```", PAGE, re.DOTALL)
    given = re.findall(r"^(?:Environment=)?([A-Z][A-Z_]+)=", environment, re.MULTILINE)
    for name in UNITS:
        given += re.findall(r"^Environment=(\w+)=", UNITS[name], re.MULTILINE)
    of_libraries = {"PGPASSWORD", "MLFLOW_DISABLE_TELEMETRY", "NUMBA_CACHE_DIR", "PATH"}
    assert set(given) - known == of_libraries
    assert "DATA_DIR=/var/lib/nautilus" in environment
