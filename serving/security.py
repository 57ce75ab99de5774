"""Security: who sent a request, and whether the route may be called by them.

The guard runs where the route has been matched, before a byte of the body is read, so there is no
second opinion about which route a path means. A route without a row in the route table does not
exist. docs/security.md has the threat model.
"""

import hmac
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import sqlalchemy as sa
import structlog
from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope as Connection

from registry.errors import (
    ForbiddenError,
    HostNotAllowedError,
    NoKeysError,
    TooManyRequestsError,
    UnauthenticatedError,
    named,
)
from serving.envelope import BodyLimits
from serving.keys import Key, list_keys, sha256_of
from serving.route_table import Route, Scope
from serving.settings import ServingSettings

KEY_POLL_SECONDS = 1.0
"""Pause between two looks at the keys: a revocation is followed within 4 s also on a slow day."""
LOCAL_NAMES = ("localhost",)
UNKNOWN_DIGEST = sha256_of("")
OPEN_ON_LOOPBACK = (Scope.PREDICT, Scope.READ)

log = structlog.get_logger("serving.security")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request: a key's id, or `local` where no key is needed.

    `model_ids` None allows every model.
    """

    actor: str
    scopes: frozenset[str]
    model_ids: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether it may do what a scope allows."""
        return scope in self.scopes

    def allows(self, model_id: str | None) -> bool:
        """Return whether it may see and use a model; what belongs to no model needs all of them."""
        return self.model_ids is None or model_id in self.model_ids

    def check_model(self, model_id: str | None) -> None:
        """Refuse a model that the key does not allow.

        Raises:
            ForbiddenError: it is not on the key's list.
        """
        if not self.allows(model_id):
            wanted = f"model {named(model_id)!r}" if model_id else "what belongs to no model"
            raise ForbiddenError(wanted, self.model_ids or ())


LOCAL = Principal("local", frozenset({*OPEN_ON_LOOPBACK, Scope.OPEN}))
ANYBODY = Principal("anybody", frozenset({Scope.OPEN}))


def principal_of(request: Request) -> Principal:
    """Return who sent a request that passed the guard."""
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal


class KeyRing:
    """The keys of the engine database, read anew every second. Safe for threads.

    While the database does not answer, the keys last read stay valid: nobody can revoke one then.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._keys: dict[str, Key] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self.load()

    @property
    def is_any_made(self) -> bool:
        """Whether a key was ever made; revoking the last one opens nothing."""
        return bool(self._keys)

    @property
    def is_any_valid(self) -> bool:
        """Whether some key is not revoked."""
        return any(key.revoked_at is None for key in self._keys.values())

    def find(self, text: str) -> Key | None:
        """Return the valid key of a text `ID.SECRET`; compares in constant time."""
        key_id, _, secret = text.partition(".")
        key = self._keys.get(key_id)
        expected = key.secret_sha256 if key else UNKNOWN_DIGEST
        is_same = hmac.compare_digest(sha256_of(secret), expected)
        return key if key and is_same and key.revoked_at is None else None

    def is_valid(self, key_id: str) -> bool:
        """Return whether a key exists and is not revoked."""
        key = self._keys.get(key_id)
        return key is not None and key.revoked_at is None

    def load(self) -> None:
        """Read the keys now."""
        self._keys = {key.id: key for key in list_keys(self._engine)}

    def refresh(self) -> None:
        """Read the keys now; keep those known when the database does not answer."""
        try:
            self.load()
        except sa.exc.SQLAlchemyError as exc:
            log.warning("keys not read", error=str(exc).partition("\n")[0])

    def start(self) -> None:
        """Begin to follow the database; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.wait(KEY_POLL_SECONDS):
            self.refresh()


class RateLimits:
    """A token bucket per key: a minute's requests at once, then evenly. For one event loop."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # key id -> (tokens, time)

    def take(self, key: Key) -> None:
        """Count a request.

        Raises:
            TooManyRequestsError: the key has no request left.
        """
        limit = key.requests_per_minute
        if limit is None:
            return
        now = self._clock()
        tokens, since = self._buckets.get(key.id, (float(limit), now))
        tokens = min(float(limit), tokens + max(0.0, now - since) * limit / 60)
        if tokens < 1:
            self._buckets[key.id] = (tokens, now)
            raise TooManyRequestsError(limit, max(1, round((1 - tokens) * 60 / limit)))
        self._buckets[key.id] = (tokens - 1, now)


class Security:
    """The guard of every route.

    Raises:
        NoKeysError: it would listen beyond loopback, and no valid key exists.
    """

    def __init__(self, keys: KeyRing, settings: ServingSettings) -> None:
        self.keys = keys
        self._limits = RateLimits()
        self._upload_limits = BodyLimits(
            int(settings.max_upload_size),
            settings.upload_timeout,
            "MAX_UPLOAD_SIZE",
            "UPLOAD_TIMEOUT",
        )
        self.is_loopback = is_loopback(settings.ml_engine_host)
        self._hosts = frozenset(_names(settings))
        self._origins = frozenset(_listed(settings.allowed_origins))
        if not self.is_loopback and not keys.is_any_valid:
            raise NoKeysError(settings.ml_engine_host)

    @property
    def access(self) -> str:
        """Whether a key is needed, in words; /health shows it."""
        if self._is_open:
            return "open: no key was ever made; on loopback predict and read need none"
        return "keys: every route but the open ones needs one"

    @property
    def _is_open(self) -> bool:
        return self.is_loopback and not self.keys.is_any_made

    def is_valid(self, principal: Principal) -> bool:
        """Return whether one that passed the guard may go on; an answer that stays open asks."""
        return self._is_open if principal == LOCAL else self.keys.is_valid(principal.actor)

    async def guard(self, route: Route, connection: Connection) -> None:
        """Let a request pass, with its `Principal` and its limits in `connection["state"]`.

        Raises:
            HostNotAllowedError, UnauthenticatedError, ForbiddenError, TooManyRequestsError.
        """
        headers, state = Headers(scope=connection), connection.setdefault("state", {})
        self._check_source(headers)
        state["principal"] = principal = self._principal(route, headers)
        if "model_id" in connection.get("path_params", {}):
            principal.check_model(connection["path_params"]["model_id"])
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415, "send the body as it is, without Content-Encoding")
        if route.is_upload:
            state["body_limits"] = self._upload_limits

    def _principal(self, route: Route, headers: Headers) -> Principal:
        text = _key_text(headers)
        if text is None and (without := self._without_key(route)):
            return without
        if text is None:
            raise UnauthenticatedError("no key")
        key = self.keys.find(text)
        if key is None:
            raise UnauthenticatedError("the key is not valid")
        self._limits.take(key)
        if route.scope not in key.scopes and not self._without_key(route):
            raise ForbiddenError(f"scope {route.scope}", key.scopes)
        return Principal(key.id, key.scopes, key.model_ids)

    def _without_key(self, route: Route) -> Principal | None:
        """Return who calls without a key; None where one is needed."""
        if self._is_open and route.scope in LOCAL.scopes:
            return LOCAL
        is_open = route.scope is Scope.OPEN or (route.open_on_loopback and self.is_loopback)
        return ANYBODY if is_open else None

    def _check_source(self, headers: Headers) -> None:
        """Refuse other hosts (DNS rebinding) and pages of other sites."""
        host = headers.get("host", "")
        if not self._is_served(_name_of(host)):
            raise HostNotAllowedError("Host", "ALLOWED_HOSTS")
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc != host or not origin.startswith(("http://", "https://")):
            raise HostNotAllowedError("Origin", "ALLOWED_ORIGINS")

    def _is_served(self, name: str) -> bool:
        return name in self._hosts or _is_address(name)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host in LOCAL_NAMES:
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """Return the name of a Host header, without port and brackets, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _names(settings: ServingSettings) -> Iterable[str]:
    yield from LOCAL_NAMES
    yield settings.ml_engine_host.lower()
    yield socket.gethostname().lower()
    yield from (name.lower() for name in _listed(settings.allowed_hosts))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _key_text(headers: Headers) -> str | None:
    """Return the one key that the headers carry; None without any.

    Raises:
        UnauthenticatedError: several keys, or a scheme other than Bearer.
    """
    found = list(headers.getlist("x-api-key"))
    for value in headers.getlist("authorization"):
        scheme, _, text = value.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("the scheme of Authorization is not Bearer")
        found.append(text)
    texts = {text.strip() for text in found}
    if len(texts) > 1:
        raise UnauthenticatedError("several different keys were sent")
    return texts.pop() if texts else None
