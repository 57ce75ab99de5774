"""Settings that every process shares: where data, the engine database and MLflow are.

Environment variables, read once per process by `PlatformSettings()` in `main()` or
`create_app()` and passed down. MLflow itself reads its own `MLFLOW_*` variables.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from registry.errors import ForeignTrackingError, SettingValueError

DEFAULT_TRACKING_URI = "http://127.0.0.1:5000"
TRACKING_URI_FILE = "tracking_uri"
"""Where the tracking server writes its address, below DATA_DIR."""

S = TypeVar("S", bound=BaseSettings)


class PlatformSettings(BaseSettings):
    """Variables of every process; the field name in capitals is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path("var"), description="Everything the engine writes.")
    database_url: str = Field(
        default="",
        description="Engine database; empty means SQLite at DATA_DIR/engine.db.",
    )
    mlflow_tracking_uri: str = Field(
        default=DEFAULT_TRACKING_URI, description="The platform's MLflow; the only one used."
    )
    coreml_minimum_target: Literal["macOS13", "macOS14", "macOS15"] = Field(
        default="macOS14",
        description="Oldest system that Core ML packages run on: macOS13 (with iOS 16), macOS14 "
        "(iOS 17) or macOS15 (iOS 18).",
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def engine_url(self) -> str:
        """SQLAlchemy URL of the engine database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'engine.db'}"

    @property
    def bars_dir(self) -> Path:
        """Parquet files of the bars this engine has received."""
        return self.data_dir / "bars"

    @property
    def cache_dir(self) -> Path:
        """Local copies of version artifacts."""
        return self.data_dir / "cache"

    @property
    def checkpoints_dir(self) -> Path:
        """States of network fits that have not ended yet."""
        return self.data_dir / "checkpoints"

    @property
    def tuning_dir(self) -> Path:
        """Journals and leases of searches, a folder each."""
        return self.data_dir / "tuning"

    @property
    def uploads_dir(self) -> Path:
        """Tables, texts and bars that people uploaded."""
        return self.data_dir / "data"

    @property
    def results_dir(self) -> Path:
        """Answers about many rows, and bodies that wait to be answered."""
        return self.data_dir / "results"

    @property
    def predictions_dir(self) -> Path:
        """Parquet files of the prediction log."""
        return self.data_dir / "predictions"


def read_settings(settings: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        SettingValueError: a variable cannot be read; one line that names it.
    """
    try:
        return settings()
    except ValidationError as exc:
        problem = exc.errors()[0]
        variable = "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingValueError(variable, problem["input"], problem["msg"]) from exc


def check_tracking_uri(active: str, settings: PlatformSettings) -> None:
    """Refuse to work against another MLflow than the platform's.

    The platform's is the address that its tracking server last wrote down; where none did (a
    server elsewhere), any http address, or a database inside DATA_DIR. Without this check a stage
    started with no MLFLOW_TRACKING_URI writes `./mlflow.db`, where serving never looks.

    Args:
        active: what MLflow would use (`mlflow.get_tracking_uri()`).

    Raises:
        ForeignTrackingError: `active` is not the platform's address.
    """
    record = settings.data_dir / TRACKING_URI_FILE
    expected = record.read_text().strip() if record.is_file() else ""
    if active.startswith(f"sqlite:///{settings.data_dir}/"):
        return
    is_server = active.startswith(("http://", "https://"))
    if not is_server or (expected and active.rstrip("/") != expected):
        raise ForeignTrackingError(active, expected or DEFAULT_TRACKING_URI)
