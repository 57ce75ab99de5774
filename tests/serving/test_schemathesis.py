"""What fits the OpenAPI document, and what nearly fits, is never a server error."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from monitoring.settings import PredictionLogSettings
from registry.settings import PlatformSettings
from serving.app import REGISTRY_PATIENCE, create_app
from serving.route_table import openapi_of
from serving.routes import ROUTES
from serving.settings import ServingSettings

LABELS = [f"{route.method} {route.path}" for route in ROUTES if not route.is_page]
KEY = f"first.{'s' * 43}"
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
UNAVAILABLE = 503
"""MLflow is away in these tests; what needs it says so."""


@pytest.fixture(scope="module")
def client(tmp_path_factory, running):
    folder = tmp_path_factory.mktemp("described")
    (secret := folder / "first").write_text(KEY)
    chosen = ServingSettings(first_key_file=str(secret), alias_poll_interval=60)
    platform = PlatformSettings(
        data_dir=folder / "var", database_url="", mlflow_tracking_uri="http://127.0.0.1:9"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in REGISTRY_PATIENCE.items():  # or a case waits through MLflow's retries
            patch.setenv(name, value)
        with running(create_app(platform, chosen, PredictionLogSettings())) as opened:
            yield opened


@pytest.fixture(scope="module")
def operations(client):
    """Operations of the document by label."""
    schema = schemathesis.openapi.from_dict(openapi_of(client.app))
    found = [result.ok() for result in schema.get_all_operations()]
    return {operation.label: operation for operation in found}


def test_every_route_is_described(operations):
    assert sorted(operations) == sorted(LABELS)


def send(client, case):
    """Send a generated case with a valid key; what HTTP cannot carry is left out."""
    wanted = case.as_transport_kwargs(base_url="http://127.0.0.1")
    headers = {
        name: value
        for name, value in wanted.pop("headers").items()
        if name.lower() not in ("authorization", "x-api-key", "content-length", "user-agent")
    }
    content = wanted.pop("data", None)
    body = {"content": content} if isinstance(content, bytes | str) else {}
    if "json" in wanted:
        body = {"json": wanted["json"]}
    return client.request(
        wanted["method"],
        wanted["url"],
        params=wanted.get("params"),
        headers=headers | {"x-api-key": KEY},
        **body,
    )


def check_all(client, operation, mode, max_examples):
    declared = {int(status) for status in operation.definition.raw["responses"]}

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        answer = send(client, case)
        assert answer.status_code < 500 or answer.status_code == UNAVAILABLE, answer.text
        assert answer.status_code in declared | {404, 405}, (case.formatted_path, answer.text)
        if answer.status_code >= 400 and "/health" not in operation.path:
            assert set(json.loads(answer.text)) == {"error"}

    check()


@pytest.mark.integration
@pytest.mark.parametrize("label", LABELS)
def test_a_few_cases_of_each_address(client, operations, label):
    check_all(client, operations[label], GenerationMode.POSITIVE, 5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", [label for label in LABELS if "/predict/" not in label])
def test_many_cases_of_each_address(client, operations, label, mode):
    operation = operations[label]
    if mode is GenerationMode.NEGATIVE and not operation.body and not operation.path_parameters:
        pytest.skip("nothing in it can be wrong")
    check_all(client, operation, mode, 25)
