"""docker/compose.yaml: no secret of its own, nothing published but serving, names that exist."""

import re
from importlib.util import find_spec

import pytest
import yaml

from monitoring.settings import HardwareSettings, MonitoringSettings, PredictionLogSettings
from pipelines.jobs.worker import WorkerSettings
from registry.artifact_bucket import ArtifactStoreSettings, bucket_of
from registry.settings import PlatformSettings
from serving.settings import ServingSettings
from tests.docker import compose_file
from tests.docker.compose_file import COMPOSE, ROOT, MissingVariableError

SECRETS = {
    "POSTGRES_PASSWORD",
    "ENGINE_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "FIRST_KEY_PATH",
}
GIVEN = {name: f"/given/{name.lower()}" for name in SECRETS}
OURS = ("bucket", "migrate", "migrate-mlflow", "mlflow", "serving", "worker")
ONE_SHOT = ("bucket", "migrate", "migrate-mlflow")
ENGINE = (PlatformSettings,)
SETTINGS = {
    "bucket": (ArtifactStoreSettings,),
    "migrate": ENGINE,
    "serving": (*ENGINE, ServingSettings, PredictionLogSettings, HardwareSettings),
    "worker": (*ENGINE, WorkerSettings, MonitoringSettings),
}
FOREIGN = re.compile(r"PGPASSWORD|AWS_[A-Z_]+|MLFLOW_[A-Z0-9_]+")
"""Variables of libpq, boto3 and MLflow, which no class of ours reads."""


@pytest.fixture(scope="module")
def compose():
    return compose_file.read(GIVEN)


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


def test_every_secret_must_be_given():
    assert compose_file.required_variables() == SECRETS
    for name in SECRETS:
        with pytest.raises(MissingVariableError, match=name):
            compose_file.read({n: v for n, v in GIVEN.items() if n != name})
        with pytest.raises(MissingVariableError, match=name):
            compose_file.read(GIVEN | {name: ""})


def test_no_variable_with_a_default_and_no_value_is_a_secret(services):
    secret = re.compile(r"PASSWORD|SECRET|KEY|TOKEN")
    assert [n for n in compose_file.with_default() if secret.search(n)] == []
    for name, service in services.items():
        for variable, value in service["environment"].items():
            if secret.search(variable):
                assert str(value).startswith(("/given/", "/run/secrets/")), (name, variable)


def test_an_address_holds_no_password(services):
    for service in services.values():
        for value in service["environment"].values():
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), value


def test_serving_alone_is_published_and_on_loopback(services):
    assert {name for name, service in services.items() if "ports" in service} == {"serving"}
    assert services["serving"]["ports"] == ["127.0.0.1:8400:8400"]
    outside = [name for name, service in services.items() if "outside" in service["networks"]]
    assert outside == ["serving"]
    assert all("inside" in service["networks"] for service in services.values())


def test_the_inner_network_reaches_nothing_else(compose):
    assert compose["networks"] == {"inside": {"internal": True}, "outside": None}


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_runs_with_few_rights(services, name):
    service = services[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "user" not in service
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_one_that_the_process_reads(services, name):
    known = {field.upper() for kind in SETTINGS[name] for field in kind.model_fields}
    others = set(services[name]["environment"]) - known
    assert {variable for variable in others if not FOREIGN.fullmatch(variable)} == set()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_value_can_be_read(services, name, monkeypatch):
    for variable, value in services[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    for kind in SETTINGS[name]:
        kind()


def test_mlflow_is_given_variables_of_its_own_only(services):
    import mlflow.environment_variables as known

    names = {n for n in services["mlflow"]["environment"] if n.startswith("MLFLOW_")}
    of_its_command = {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"}
    assert [n for n in sorted(names - of_its_command) if not hasattr(known, n)] == []
    from mlflow.cli import server

    assert of_its_command <= {option.envvar for option in server.params}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(services, name):
    command = services[name]["command"]
    if command[:2] == ["python", "-m"]:
        assert find_spec(command[2]) is not None
        return
    line = command[2].removeprefix("exec ").split() if command[0] == "sh" else command
    assert line[0] == "mlflow"
    from mlflow.cli import cli

    group = cli.commands[line[1]]
    options = {option for parameter in group.params for option in parameter.opts}
    assert {part for part in line[2:] if part.startswith("--")} <= options
    assert line[1] != "db" or line[2] in group.commands


def test_what_starts_waits_for_what_it_needs(services):
    waits = {
        (name, other): how["condition"]
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    }
    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits == {
        ("bucket", "s3"): "service_started",
        ("migrate", "postgres"): healthy,
        ("migrate-mlflow", "postgres"): healthy,
        ("mlflow", "migrate-mlflow"): done,
        ("mlflow", "bucket"): done,
        ("serving", "migrate"): done,
        ("worker", "migrate"): done,
        ("worker", "mlflow"): healthy,
    }
    assert all(
        "healthcheck" in services[other] for (_, other), how in waits.items() if how == healthy
    )


def test_serving_and_worker_share_one_volume_and_one_database(services):
    serving, worker = services["serving"], services["worker"]
    assert serving["volumes"] == worker["volumes"] == ["data:/data"]
    for variable in PlatformSettings.model_fields:
        name = variable.upper()
        assert serving["environment"].get(name) == worker["environment"].get(name)
    assert serving["environment"]["DATA_DIR"] == "/data"


def test_every_volume_secret_file_and_build_exists(compose, services):
    named = {volume.partition(":")[0] for s in services.values() for volume in s.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == set(compose["volumes"])
    for path in (name for name in named if name.startswith(".")):
        assert (COMPOSE.parent / path).is_file()
    assert {secret for s in services.values() for secret in s.get("secrets", ())} == {"first_key"}
    for service in services.values():
        if "build" in service:
            root = (COMPOSE.parent / service["build"]["context"]).resolve()
            assert root == ROOT
            assert (root / service["build"]["dockerfile"]).is_file()


def test_the_bucket_is_that_of_the_artifacts(services):
    destination = services["bucket"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"]
    assert bucket_of(destination) == "mlflow"
    assert services["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"] == destination


def test_the_folder_is_no_package():
    """An `__init__.py` here would make MLflow import this folder instead of the library docker."""
    assert list((ROOT / "docker").rglob("*.py")) == []


def test_the_example_of_variables_names_them_all():
    text = (ROOT / "docker" / "env.example").read_text()
    named = dict(re.findall(r"^#? ?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    assert set(named) == compose_file.required_variables() | set(compose_file.with_default())
    assert {named[name] for name in SECRETS - {"FIRST_KEY_PATH"}} == {""}
    plain = {name: value for name, value in named.items() if name not in SECRETS}
    assert plain == compose_file.with_default()


def test_prometheus_asks_serving_with_a_key():
    scrape = yaml.safe_load((ROOT / "docker" / "prometheus.yaml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["credentials_file"].startswith("/run/secrets/")
    assert job["dns_sd_configs"] == [{"names": ["serving"], "type": "A", "port": 8400}]
