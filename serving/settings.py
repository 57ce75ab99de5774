"""Settings of the serving process; the field name in capitals is the variable's name.

Read once in `main()` or handed to `create_app()`; docs/settings.md lists every one and a test
compares the two. Where data, database and MLflow are stands in `registry.settings`.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field, PlainSerializer
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Bytes = Annotated[ByteSize, PlainSerializer(int)]


def _factor(value: float) -> float:
    if value == 0 or 1 < value < math.inf:
        return value
    raise ValueError("expected 0, or a factor above 1")


class ServingSettings(BaseSettings):
    """Variables of the serving process."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    ml_engine_host: str = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0 opens it to the network."
    )
    ml_engine_port: int = Field(default=8400, ge=0, le=65535, description="Port to listen on.")
    allowed_hosts: str = Field(
        default="",
        description=(
            "Host names that requests may be sent to, separated by commas, beside localhost, "
            "this machine's name, ML_ENGINE_HOST and plain addresses."
        ),
    )
    allowed_origins: str = Field(
        default="",
        description=(
            "Origins of web pages that may call, such as https://desk.example, separated by "
            "commas; any other foreign Origin is refused."
        ),
    )
    trusted_proxies: str = Field(
        default="",
        description=(
            "Addresses of proxies whose X-Forwarded headers are believed, separated by commas."
        ),
    )
    first_key_file: str = Field(
        default="",
        description=(
            "Secret file with a key ID.SECRET that gets every right at start, unless its id is "
            "known already."
        ),
    )
    log_level: LogLevel = Field(default="INFO", description="Least severe line that is written.")
    metrics_enabled: bool = Field(
        default=True, description="Whether GET /metrics answers; false makes it 404."
    )
    model_cache_size: Bytes = Field(
        default=ByteSize(1_000_000_000),
        description=(
            "Artifact bytes that versions loaded on demand (by number or alias) may hold together; "
            "the least recently used goes first. Production versions always stay, uncounted."
        ),
    )
    max_batch_size: int = Field(
        default=1000, ge=1, description="Most rows or symbols in one POST /predict."
    )
    max_body_size: Bytes = Field(
        default=ByteSize(16_000_000), description="Most bytes in one request body (413 beyond)."
    )
    bar_clock_tolerance: float = Field(
        default=60.0,
        ge=0,
        description=(
            "Seconds that a bar of POST /bars may close after this machine's clock; bars of a day "
            "and longer one interval more."
        ),
    )
    largest_move: Annotated[float, AfterValidator(_factor)] = Field(
        default=10.0,
        description=(
            "Most that the close of a bar of POST /bars may be above or below the bars beside it, "
            "as a factor above 1; 0: anything."
        ),
    )
    new_symbols: bool = Field(
        default=True,
        description="Whether POST /bars takes the first bars of a symbol; PUT /bars always does.",
    )
    max_upload_size: Bytes = Field(
        default=ByteSize(1_000_000_000), description="Most bytes in one uploaded file."
    )
    upload_timeout: float = Field(
        default=600.0, gt=0, description="Seconds until an upload must have arrived."
    )
    upload_check_memory: Bytes = Field(
        default=ByteSize(4_000_000_000),
        description=(
            "Most bytes of memory that checking an uploaded file may take; a CSV takes about "
            "twelve times its size."
        ),
    )
    batch_inline_rows: int = Field(
        default=20_000,
        ge=0,
        description=(
            "Most rows, symbols, texts or portfolios that POST /predict/batch answers at once; "
            "more become a job."
        ),
    )
    results_retention: float = Field(
        default=7.0, gt=0, description="Days that the answers of a batch job are kept."
    )
    max_waiting: int = Field(
        default=256, ge=1, description="Most predictions that may wait or run at once (503 beyond)."
    )
    max_event_streams: int = Field(
        default=64, ge=1, description="Most streams of events that are open at once (503 beyond)."
    )
    default_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds until a request is answered 504 (408 when its body has not come).",
    )
    alias_poll_interval: float = Field(
        default=2.0, gt=0, description="Seconds between two looks at the registry's aliases."
    )
    panel_grace: float = Field(
        default=60.0,
        ge=0,
        description=(
            "Seconds that a version with a panel feature set waits for the other symbols of its "
            "universe after the first bar of a timestamp."
        ),
    )
    auto_hardware_routing: bool = Field(
        default=True,
        description=(
            "True measures every flavor and backend at load and uses the fastest for the batch "
            "size; false measures nothing and uses each backend's first flavor."
        ),
    )
