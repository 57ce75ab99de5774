"""Platform settings: where things lie, and which MLflow is the platform's."""

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from registry.errors import ForeignTrackingError, SettingValueError
from registry.settings import (
    TRACKING_URI_FILE,
    PlatformSettings,
    check_tracking_uri,
    read_settings,
)


def test_everything_lies_below_the_data_directory(settings: PlatformSettings) -> None:
    below = [settings.bars_dir, settings.cache_dir, settings.predictions_dir]
    assert all(path.is_relative_to(settings.data_dir) for path in below)
    assert settings.engine_url == f"sqlite:///{settings.data_dir}/engine.db"


def test_a_variable_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ports(BaseSettings):
        some_port: int = Field(default=1)

    monkeypatch.setenv("SOME_PORT", "eighty")
    with pytest.raises(SettingValueError, match="SOME_PORT='eighty'.*valid integer"):
        read_settings(Ports)


@pytest.mark.parametrize("active", ["sqlite:///mlflow.db", "file:///tmp/mlruns", "mlruns"])
def test_a_local_store_elsewhere_is_foreign(settings: PlatformSettings, active: str) -> None:
    with pytest.raises(ForeignTrackingError, match="export MLFLOW_TRACKING_URI=http://127"):
        check_tracking_uri(active, settings)


def test_a_database_inside_the_data_directory_is_the_platforms(settings: PlatformSettings) -> None:
    check_tracking_uri(f"sqlite:///{settings.data_dir}/mlflow.db", settings)


def test_another_server_than_the_recorded_one_is_foreign(settings: PlatformSettings) -> None:
    check_tracking_uri("http://mlflow.example:5000", settings)
    (settings.data_dir / TRACKING_URI_FILE).write_text("http://127.0.0.1:5001\n")
    check_tracking_uri("http://127.0.0.1:5001/", settings)
    with pytest.raises(
        ForeignTrackingError, match="export MLFLOW_TRACKING_URI=http://127.0.0.1:5001"
    ):
        check_tracking_uri("http://mlflow.example:5000", settings)


def test_the_data_directory_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "here")
    assert PlatformSettings().data_dir == tmp_path / "here"
