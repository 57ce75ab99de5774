"""Every example of the route table is sent to one running application, and does what it shows."""

from datetime import UTC, datetime

import polars as pl
import pytest
import sqlalchemy as sa

from registry import tables
from serving import examples
from serving.keys import sha256_of
from serving.loading import load
from serving.routes import ROUTES
from tests.serving.test_compatibility import write_signals
from tests.serving.test_portfolio import write_portfolio
from tests.waiting import wait_for

LAST = (
    "POST /models/{model_id}/deploy",
    "POST /models/{model_id}/rollback",
    "POST /models/{model_id}/withdraw",
    "DELETE /models/{model_id}",
    "DELETE /models/{model_id}/versions/{number}",
)
"""Calls that take something away from the others, in the order in which they are possible."""
ELSEWHERE = (examples.TABLE_ROWS, examples.TEXTS)
"""Asked of trained versions in tests/e2e/test_rows_alone.py."""
CUSTOMERS = pl.DataFrame({"age": range(20, 60), "churned": ["yes", "no"] * 20})


def in_order() -> list:
    """Return (route, example), those that take something away at the end."""
    labelled = {f"{route.method} {route.path}": route for route in ROUTES if not route.is_page}
    first = [route for label, route in labelled.items() if label not in LAST]
    return [
        (route, example)
        for route in (*first, *(labelled[label] for label in LAST))
        for example in route.examples
        if example.body not in ELSEWHERE
    ]


@pytest.fixture
def world(installation, running, make, tmp_path):
    """A server with bars, models, versions, a job that has ended and a key that was lost."""
    for is_first in (True, False):
        installation.register(is_first=is_first)
    installation.registry.set_alias_staging("volatility_forecast", 2)
    with installation.engine.begin() as connection:
        connection.execute(sa.insert(tables.jobs).values(_job()))
        connection.execute(sa.insert(tables.jobs).values(_batch_job()))
        connection.execute(sa.insert(tables.jobs).values(_search_job()))
        connection.execute(sa.insert(tables.api_keys).values(_key()))
    app = installation.app()
    headers = installation.key(app, "read", "manage", "predict", "admin")
    with running(app) as client:
        service = app.state.service
        bars = pl.concat([make.bars(symbol) for symbol in ("AAPL", "MSFT")])
        body = {"bars": make.body(bars), "interval": "1d", "price_basis": "adjusted"}
        assert client.post("/bars", json=body, headers=headers).is_success
        table = {"content": CUSTOMERS.write_csv().encode(), "headers": headers}
        table["headers"] = headers | {"content-type": "text/csv"}
        assert client.put("/data/customers", **table).is_success
        installation.promote(1)
        wait_for(lambda: "volatility_forecast" in service.models.production())
        service.follower.close()  # it knows nothing of the two that come
        for model_id, write in (
            ("trading_signals", write_signals),
            ("portfolio_risk", write_portfolio),
        ):
            write(tmp_path / model_id, make.contract())
            files = make.files(tmp_path / model_id, model_id)
            *_, version = load(files, model_id, 1, is_measured=False)
            service.models.learn(service.models.aliases() | {model_id: {"production": 1}})
            service.models.serve(version)
        yield client, headers


def _job() -> dict:
    now = datetime.now(UTC)
    return {
        "id": "0123456789abcdef0123456789abcdef",
        "kind": "main",
        "model_id": "volatility_forecast",
        "payload": {},
        "state": "done",
        "due_at": now,
        "created_at": now,
        "ended_at": now,
        "fence": 1,
        "max_attempts": 3,
    }


def _batch_job() -> dict:
    changed = {"id": "fedcba9876543210fedcba9876543210", "kind": "score", "state": "failed"}
    payload = {"model_name": "volatility_forecast", "version": 1, "results": "0" * 32}
    return _job() | changed | {"payload": payload, "error": "the disk is full"}


def _search_job() -> dict:
    changed = {"id": "5ea4c45ea4c45ea4c45ea4c45ea4c45e", "kind": "tune"}
    payload = {"model_name": "return_forecast", "template": "return_forecast", "study": "s"}
    outcome = {"found": True, "reason": "significant", "n_ended": 20, "recipe": {}}
    told = {"study": "s", "n_ended": 20, "outcome": outcome}
    return (
        _job()
        | changed
        | {
            "model_id": "return_forecast",
            "payload": payload,
            "result": {"run_id": "a" * 32, "status": "FINISHED", "told": told},
        }
    )


def _key() -> dict:
    return {
        "id": "3f1c0a9b2d4e",
        "label": "lost",
        "secret_sha256": sha256_of("lost"),
        "scopes": ["read"],
        "created_at": datetime.now(UTC),
    }


@pytest.mark.slow
@pytest.mark.integration
def test_every_example_does_what_it_shows(world):
    client, headers = world
    for route, example in in_order():
        content = {"json": example.body} if example.body is not None else {}
        if example.content:
            content = {"content": example.content}
        answer = client.request(
            route.method,
            route.path.format(**example.path),
            params=example.query,
            headers=headers | dict(example.headers),
            **content,
        )
        told = f"{route.method} {route.path}: {example.title}: {answer.text[:500]}"
        assert answer.status_code == example.status, told
