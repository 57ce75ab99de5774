"""The bucket of MLflow's artifacts: `python -m registry.artifact_bucket` makes it where it is not.

For containers, where an S3 store starts empty. MLflow's server alone speaks to that store: every
other process sends files to MLflow and asks it for them. Variables are MLflow's and boto3's own:
`MLFLOW_ARTIFACTS_DESTINATION`, `MLFLOW_S3_ENDPOINT_URL`, `AWS_...`.
"""

import time
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from registry.command_line import run
from registry.errors import (
    ArtifactStoreUnavailableError,
    MissingPackageError,
    SettingValueError,
)
from registry.settings import read_settings

WAIT_SECONDS = 60.0
"""How long a store that has just been started is waited for."""
PAUSE_SECONDS = 1.0
FIRST_REGION = "us-east-1"
REFUSALS = range(400, 500)
"""Statuses with which a store says no; any other error may pass."""


class ArtifactStoreSettings(BaseSettings):
    """Where MLflow keeps artifacts; MLflow reads the same variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    mlflow_artifacts_destination: str = Field(description="Such as s3://mlflow.")
    mlflow_s3_endpoint_url: str = Field(default="", description="Empty is Amazon's.")


def bucket_of(destination: str) -> str:
    """Return the bucket of an address such as s3://BUCKET/PREFIX.

    Raises:
        SettingValueError: not such an address.
    """
    parts = urlsplit(destination)
    if parts.scheme != "s3" or not parts.netloc:
        problem = "expected an address such as s3://mlflow"
        raise SettingValueError("MLFLOW_ARTIFACTS_DESTINATION", destination, problem)
    return parts.netloc


def make_bucket(settings: ArtifactStoreSettings, wait_seconds: float = WAIT_SECONDS) -> str:
    """Make the bucket unless it is there, and return its name; may be repeated.

    Raises:
        ArtifactStoreUnavailableError: the store does not answer in time, or refuses.
        MissingPackageError: boto3 is not installed.
    """
    bucket = bucket_of(settings.mlflow_artifacts_destination)
    client = _client(settings.mlflow_s3_endpoint_url)
    deadline = time.monotonic() + wait_seconds
    while (problem := _try(client, bucket)) is not None:
        is_final, cause = problem
        if is_final or time.monotonic() >= deadline:
            raise ArtifactStoreUnavailableError(client.meta.endpoint_url, cause)
        time.sleep(PAUSE_SECONDS)
    return bucket


def _client(endpoint_url: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError as exc:
        raise MissingPackageError("an artifact store of S3", "boto3", "s3") from exc
    patience = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=endpoint_url or None, config=patience)


def _try(client: Any, bucket: str) -> tuple[bool, str] | None:
    """Return None once the bucket is there, else whether the problem stays, and its cause."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.create_bucket(Bucket=bucket, **_place(client.meta.region_name))
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code == "BucketAlreadyOwnedByYou":
            return None
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status in REFUSALS, f"{code or status} for bucket {bucket!r}"
    except BotoCoreError as exc:
        return False, str(exc)
    return None


def _place(region: str) -> dict[str, Any]:
    """Return where to make the bucket; S3 takes no word for its first region."""
    is_first = region == FIRST_REGION
    return {} if is_first else {"CreateBucketConfiguration": {"LocationConstraint": region}}


def main() -> None:
    """Make the bucket that the environment names."""
    settings = read_settings(ArtifactStoreSettings)
    print(f"bucket {make_bucket(settings)!r} is there")


if __name__ == "__main__":
    run(main)
