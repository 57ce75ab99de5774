"""The bucket of MLflow's artifacts is made once, in an S3 store that may still be starting."""

import sys
import threading

import pytest

from registry.artifact_bucket import ArtifactStoreSettings, bucket_of, make_bucket
from registry.errors import (
    ArtifactStoreUnavailableError,
    MissingPackageError,
    SettingValueError,
)
from tests.docker.servers import S3Server, free_port


def settings(url, destination="s3://runs/of-desk"):
    return ArtifactStoreSettings(
        mlflow_artifacts_destination=destination, mlflow_s3_endpoint_url=url
    )


@pytest.fixture
def region(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-s3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-s3")

    def choose(name):
        monkeypatch.setenv("AWS_DEFAULT_REGION", name)

    choose("us-east-1")
    return choose


@pytest.mark.parametrize(
    "text", ["", "runs", "/data/artifacts", "file:///data", "s3://", "s3:///x"]
)
def test_an_address_that_is_not_of_s3_is_refused(text):
    with pytest.raises(SettingValueError, match="MLFLOW_ARTIFACTS_DESTINATION"):
        bucket_of(text)


def test_without_boto3_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingPackageError, match=r"nautilus-ml-engine\[s3\]"):
        make_bucket(settings("http://127.0.0.1:1"))


@pytest.mark.integration
@pytest.mark.parametrize("name", ["us-east-1", "eu-west-1"])
def test_a_bucket_is_made_once_and_found_again(s3, region, name):
    region(name)
    assert make_bucket(settings(s3.url)) == "runs"
    assert make_bucket(settings(s3.url)) == "runs"


@pytest.mark.integration
def test_a_store_that_starts_late_is_waited_for(s3_packages, tmp_path, region):
    server = S3Server(tmp_path / "s3.log")
    starting = threading.Timer(1.0, server.start)
    starting.start()
    try:
        assert make_bucket(settings(server.url)) == "runs"
    finally:
        starting.join()
        server.stop()


def test_a_store_that_never_comes_is_one_line(s3_packages, region):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ArtifactStoreUnavailableError, match=url):
        make_bucket(settings(url), wait_seconds=0)


@pytest.mark.integration
def test_a_name_that_no_bucket_may_have_is_not_waited_for(s3, region):
    with pytest.raises(ArtifactStoreUnavailableError, match="'x'"):
        make_bucket(settings(s3.url, "s3://x"))
