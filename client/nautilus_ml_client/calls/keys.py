"""Keys: listed, created and revoked, by a key with the scope `admin`."""

from collections.abc import Sequence

from pydantic import Field

from nautilus_ml_client.answers import KeyFacts, KeyList, NewKey
from nautilus_ml_client.requests import Flow, address, answered, get, given, post


class CreatedKey(NewKey):
    """A key with its text, which is shown this once and is not in its `repr`."""

    key: str = Field(repr=False)
    """`ID.SECRET`; keep it, it cannot be read again."""


def list_keys() -> Flow[list[KeyFacts]]:
    """List every key that was made, without secrets."""
    return (yield from answered(get("/keys"), KeyList)).keys


def create(
    scopes: Sequence[str],
    *,
    model_ids: Sequence[str] | None = None,
    requests_per_minute: int | None = None,
    label: str = "",
) -> Flow[CreatedKey]:
    """Create a key; its text is in the answer and nowhere else.

    Where the answer is lost a key may have been made that nobody has: see `list`, and revoke it.

    Args:
        scopes: some of predict, read, manage and admin.
        model_ids: the models that it may name; None means every one.
        requests_per_minute: limit of each serving process; None means none.
        label: what the key is for.

    Raises:
        InvalidRequestError: an unknown scope, or no scope.
    """
    wanted = given(
        scopes=[scopes] if isinstance(scopes, str) else list(scopes),
        model_ids=None if model_ids is None else list(model_ids),
        requests_per_minute=requests_per_minute,
        label=label or None,
    )
    return (yield from answered(post("/keys", wanted), CreatedKey))


def revoke(key_id: str, *, reason: str) -> Flow[KeyFacts]:
    """Revoke a key for good; every process refuses it within 4 s.

    Raises:
        NotFoundError: no key has this id.
    """
    path = address("/keys/{key_id}/revoke", key_id=key_id)
    request = post(path, {"reason": reason}, is_repeatable=True)
    return (yield from answered(request, KeyFacts))
