"""Keys through the client: listed, created, used, revoked."""

import httpx
import pytest

from nautilus_ml_client import ForbiddenError, InvalidRequestError, NoAnswerError, NotFoundError
from nautilus_ml_client.answers import KeyFacts
from serving.keys import Rights, make_key
from tests.clients.conftest import Asking


@pytest.fixture
def admin(served, app, kind):
    service = app.state.service
    _, text = make_key(service.database, Rights(("admin", "read")), actor="test")
    service.security.keys.load()
    return Asking(kind, served, text)


@pytest.mark.integration
def test_a_key_is_created_used_listed_and_revoked(admin, served, kind):
    made = admin(
        lambda c: c.keys.create(
            ["predict", "read"],
            model_ids=["volatility_forecast"],
            requests_per_minute=600,
            label="router",
        )
    )
    assert made.key.startswith(f"{made.id}.")
    assert made.key.partition(".")[2] not in repr(made) + str(made)
    mine = Asking(kind, served, made.key)
    assert mine(lambda c: c.predict("volatility_forecast", symbols=["NOPE"])).errors
    with pytest.raises(ForbiddenError):
        mine(lambda c: c.keys.list())
    [listed] = [key for key in admin(lambda c: c.keys.list()) if key.id == made.id]
    assert isinstance(listed, KeyFacts)
    assert (listed.scopes, listed.model_ids) == (["predict", "read"], ["volatility_forecast"])
    assert (listed.requests_per_minute, listed.label, listed.revoked_at) == (600, "router", None)
    revoked = admin(lambda c: c.keys.revoke(made.id, reason="lost"))
    again = admin(lambda c: c.keys.revoke(made.id, reason="lost"))
    assert revoked.revoked_at == again.revoked_at is not None


@pytest.mark.integration
def test_what_is_no_key_is_refused(admin):
    with pytest.raises(InvalidRequestError):
        admin(lambda c: c.keys.create("everything"))
    with pytest.raises(NotFoundError):
        admin(lambda c: c.keys.revoke("nobody", reason="gone"))


def test_making_a_key_is_not_repeated_when_its_answer_is_lost(scripted):
    client = scripted(httpx.ReadError("lost"))
    with pytest.raises(NoAnswerError):
        client.keys.create(["predict"])
    assert len(client.sent) == 1
