"""Searches by both clients: started, followed, waited for, their winners deployed."""

import httpx
import pytest

from nautilus_ml_client import (
    ConflictError,
    InputError,
    InvalidRequestError,
    SearchFailedError,
    WaitTimeoutError,
)
from nautilus_ml_client.answers import SearchRequest
from nautilus_ml_client.compatibility import AutoMLEngine
from pipelines.jobs import leases, queue
from serving import event_streams
from serving.search_bodies import SearchRequest as Body
from tests.clients.conftest import URL, InProcess
from tests.serving.test_automl import ENDED, LUCK, OUTCOME, SO_FAR, end, told

SMALL = {"template": "return_forecast", "study": "s", "trials": 8}
EARLIER = {"model_types": ["xgboost"], "hyperparameters": {"learning_rate": [0.1]}}


@pytest.fixture
def database(manager):
    return manager.application.state.service.database


def test_a_search_is_started_told_of_and_its_winner_deployed(manager, database):
    space = {"architectures": ["ridge"]}
    started = manager(lambda c: c.automl.start(**SMALL, space=space, idempotency_key="one"))
    assert (started.state, started.study, started.workers) == ("queued", "s", [started.job_id])
    again = manager(lambda c: c.automl.start(**SMALL, space=space, idempotency_key="one"))
    assert again == started
    held = leases.claim(database, "w")
    told(database, held, SO_FAR)
    assert manager(lambda c: c.automl.status(started)).best.score == 0.98
    assert manager(lambda c: c.hyperopt.progress(started.job_id)).n_ended == 5
    with pytest.raises(ConflictError, match="search_not_ended"):
        manager(lambda c: c.automl.deploy(started))
    end(database, held, ENDED)
    found = manager(lambda c: c.automl.results(started, wait=True))
    assert found.found is True and found.of_search.passed and found.leaderboard[0].rank == 1
    job = manager(lambda c: c.automl.deploy(found, flavors="onnx", promote=True))
    assert queue.get(database, job.job_id).payload["promote"] is True


def test_one_architecture_is_searched_and_followed_to_the_end(manager, database, monkeypatch):
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.01)
    started = manager(
        lambda c: c.hyperopt.start("ridge", hyperparameters={"alpha": [0.1, 1.0]}, **SMALL)
    )
    payload = queue.get(database, started.job_id).payload
    assert payload["space"] == '{"parameters": {"ridge": {"alpha": [0.1, 1.0]}}}'
    held = leases.claim(database, "w")
    told(database, held, SO_FAR)
    end(database, held, LUCK)
    [seen] = manager.items(lambda c: c.hyperopt.events(started))
    assert (seen.state, seen.n_ended, seen.n_trials) == ("done", 8, 8)


def test_waiting_ends_with_the_reason_or_in_time(manager, database):
    started = manager(lambda c: c.automl.start(**SMALL))
    with pytest.raises(WaitTimeoutError):
        manager(lambda c: c.automl.results(started, wait=True, timeout_seconds=0))
    assert manager(lambda c: c.automl.results(started)).found is None
    queue.cancel(database, started.job_id, actor="ada")
    with pytest.raises(SearchFailedError, match="is cancelled"):
        manager(lambda c: c.automl.results(started, wait=True))


def test_what_cannot_be_searched_is_refused(manager):
    with pytest.raises(InvalidRequestError, match="metric: expected one of"):
        manager(lambda c: c.automl.start(metric="accuracy"))
    with pytest.raises(InvalidRequestError, match="unknown architecture"):
        manager(lambda c: c.hyperopt.start("oracle"))


def test_the_keywords_of_a_search_are_those_of_the_body():
    assert set(SearchRequest.__annotations__) == set(Body.model_fields)


# The names of the earlier engine's class ---------------------------------------------------------


def test_a_search_and_its_deployment_by_their_earlier_names(manager, database, monkeypatch):
    if manager.client.__class__.__name__ != "Client":
        pytest.skip("it blocks")
    key = manager.client._sender.server.key
    engine = AutoMLEngine(url=URL, key=key, transport=InProcess.of(manager))

    def worked(*_, **__):
        held = leases.claim(database, "w")
        outcome = OUTCOME | ({"version": 1} if held.payload.get("deploy") else {})
        end(database, held, ENDED | {"outcome": outcome})

    monkeypatch.setattr("nautilus_ml_client.client.time.sleep", worked)
    found = engine.optimize(EARLIER, {"symbols": "AAPL"}, "sharpe_ratio", "neural_engine", 8)
    assert found.found is True and found.model_id == "trading_signals"
    payload = queue.get(database, found.job_id).payload
    assert (payload["symbols"], payload["trials"]) == ("AAPL", 8)
    assert engine.deploy_model(found, "neural_engine", production_ready=True).version == 1


@pytest.mark.parametrize("data", [5, [1, 2], object()])
def test_training_data_are_named_or_chosen(data):
    engine = AutoMLEngine(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    with pytest.raises(InputError, match=r"Client\.data\.put"):
        engine.optimize(EARLIER, data)
