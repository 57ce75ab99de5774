"""docs/api.md names every address, status and metric there is, and its bodies are requests."""

import json
import re
from pathlib import Path

import pytest

from serving.model_bodies import (
    DeployRequest,
    ModelChange,
    ModelRequest,
    Reasoned,
    TrainRequest,
    ValidateRequest,
    WithdrawRequest,
)
from serving.route_table import markdown
from serving.routes import ROUTES
from serving.routes.outcomes import OutcomesRequest
from serving.schemas import BarsRequest, PredictRequest

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
BODIES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_the_table_of_addresses_is_the_route_table():
    assert markdown(ROUTES) in PAGE, "run python -m serving.routes"


def test_every_metric_is_in_the_page_and_no_other(client):
    text = client.get("/metrics").text
    found = set(re.findall(r"^# TYPE (ml_engine_\w+)", text, re.MULTILINE))
    found = {name for name in found if not name.endswith("_created")}
    assert set(re.findall(r"`(ml_engine_\w+)`", PAGE)) == found


def test_every_status_is_in_the_page(client):
    declared = {
        status
        for methods in client.get("/openapi.json").json()["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert {status for status in declared if not status.startswith("2")} <= set(
        re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)
    )


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ",".join(body))
def test_every_body_in_the_page_is_what_it_says(body):
    if "predictions" in body or "error" in body:
        return
    if "outcomes" in body:
        OutcomesRequest.model_validate(body)
        return
    kind = BarsRequest if "interval" in body else PredictRequest
    kind.model_validate(body)


CURL = r"""\$API/models\S*?(?:/(\w+))?" [^\n]*?(?:\\\n[^\n]*?)?-d '(.*?)'"""
MODEL_BODIES = {
    "": ModelRequest,
    "train": TrainRequest,
    "validate": ValidateRequest,
    "deploy": DeployRequest,
    "rollback": Reasoned,
    "withdraw": WithdrawRequest,
}


def test_every_command_in_the_page_sends_a_body_that_is_taken():
    found = re.findall(CURL, PAGE, re.DOTALL)
    assert {name for name, _ in found} >= set(MODEL_BODIES)
    for name, text in found:
        kind = MODEL_BODIES.get(name, ModelChange)
        kind.model_validate(json.loads(text))
