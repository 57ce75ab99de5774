"""Settings of monitoring: environment variables, read once per process and passed down."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PredictionLogSettings(BaseSettings):
    """How the prediction log is written; the field name in capitals is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    prediction_log_flush_seconds: float = Field(
        default=2.0,
        gt=0,
        description="A logged prediction is on disk after this; a crash loses it.",
    )
    prediction_log_batch_rows: int = Field(
        default=5_000, gt=0, description="Rows that are written without waiting for the interval."
    )
    prediction_log_queue_rows: int = Field(
        default=100_000, gt=0, description="Rows held in memory; beyond them rows are dropped."
    )
    prediction_log_batches: bool = Field(
        default=True,
        description="Whether rows, texts and portfolios of POST /predict/batch are logged, at once "
        "or by a job; false leaves them out. Symbols are always logged.",
    )
    prediction_log_retention_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days after which the worker removes logged predictions that drift and "
        "retraining do not need; 0 keeps all.",
    )


class MonitoringSettings(BaseSettings):
    """When drift is confirmed and what a confirmed drift may start; see docs/operations.md."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    drift_step_bars: int = Field(
        default=5, gt=0, description="Bar times from one judged window to the next."
    )
    drift_min_rows: int = Field(
        default=30, gt=1, description="Fewer logged rows in a window give no verdict."
    )
    drift_windows_of: int = Field(
        default=5, gt=0, description="n of the k-of-n rule, of windows that share less than half."
    )
    drift_windows_needed: int = Field(default=2, gt=0, description="k of the k-of-n rule.")
    performance_fall: float = Field(
        default=0.5,
        gt=0,
        description="Standard deviations of validation's means over 63 bar times by which the "
        "excess loss must exceed the validated one for a fall.",
    )
    retrain_enabled: bool = Field(
        default=True, description="The kill switch: false enqueues no retraining run."
    )
    retrain_clock: Literal["wall", "as_of"] = Field(
        default="wall",
        description="Clock of cool-down and budgets: wall is real time, as_of the end of the "
        "newest window (for a replay faster than real time).",
    )
    retrain_cooldown_days: float = Field(
        default=7.0, ge=0, description="Pause after every attempt; each reject in a row doubles it."
    )
    retrain_runs_per_day: int = Field(default=1, gt=0, description="Run budget per model.")
    retrain_runs_per_week: int = Field(default=3, gt=0, description="Run budget per model.")
    retrain_min_new_bars: int = Field(
        default=126, ge=0, description="Fewest newly labelled bar times since training for a run."
    )
    retrain_max_rejects: int = Field(
        default=3, gt=0, description="Rejects in a row after which a person must resume."
    )
    retrain_changes_per_week: int = Field(
        default=2, gt=0, description="More promotions in a week than this: a person must resume."
    )
    retrain_floor_days: float = Field(
        default=0.0, ge=0, description="Retrain at least this often without any drift; 0 is never."
    )


class HardwareSettings(BaseSettings):
    """Whether and how often the serving process looks at the machine it runs on."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    hardware_monitoring: bool = Field(
        default=True,
        description="Whether processor, memory, disk and GPUs are sampled; false samples nothing.",
    )
    monitoring_interval: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds between two samples of the hardware; more where a sample would cost "
        "over 0.5 % of a core.",
    )
