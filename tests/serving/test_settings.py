"""docs/settings.md says what the settings classes say."""

import re
from pathlib import Path

from monitoring.settings import HardwareSettings, MonitoringSettings, PredictionLogSettings
from pipelines.jobs.worker import WorkerSettings
from registry.settings import PlatformSettings
from serving.settings import ServingSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
KINDS = (
    PlatformSettings,
    ServingSettings,
    PredictionLogSettings,
    HardwareSettings,
    WorkerSettings,
    MonitoringSettings,
)
ROW = re.compile(r"^\| `([A-Z_]+)` \| (`[^`]*`|empty) \| (.+) \|$", re.MULTILINE)


def shown(value) -> str:
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_the_page_lists_every_setting_with_its_default():
    written = {name: default for name, default, _ in ROW.findall(PAGE.read_text())}
    coded = {
        name.upper(): shown(field.default)
        for kind in KINDS
        for name, field in kind.model_fields.items()
    }
    assert written == coded


def test_every_setting_says_what_it_does():
    for kind in KINDS:
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"


def test_sizes_are_read_as_people_write_them(monkeypatch):
    monkeypatch.setenv("MODEL_CACHE_SIZE", "1GB")
    monkeypatch.setenv("MAX_BODY_SIZE", "512KiB")
    assert ServingSettings().model_cache_size == 1_000_000_000
    assert ServingSettings().max_body_size == 512 * 1024
