"""What both clients share: the server's address, the key, the limits of time."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx

from nautilus_ml_client.errors import InputError
from nautilus_ml_client.requests import Request
from nautilus_ml_client.retries import Retries

DISTRIBUTION = "nautilus-ml-client"
STREAM_SECONDS = 60.0
"""Silence after which a stream is lost; the server sends something every 15 s."""


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """Where and how requests are sent.

    Raises:
        InputError: the address is none, or the key cannot stand in a header.
    """

    url: str
    key: str | None
    timeout_seconds: float
    upload_timeout_seconds: float
    retries: Retries

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise InputError("url: expected http://HOST:PORT")
        if self.key is not None and not _is_plain(self.key):
            raise InputError("key: expected ID.SECRET, plain characters without blanks")

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"  # never the key

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"User-Agent": f"{DISTRIBUTION}/{client_version()}"}
        return headers if self.key is None else headers | {"X-API-Key": self.key}

    def arguments(self, request: Request) -> Mapping[str, Any]:
        """Return what httpx builds a request from, without its body."""
        seconds = self.timeout_seconds
        if request.is_stream:
            seconds = max(seconds, STREAM_SECONDS)
        if request.is_upload:
            seconds = max(seconds, self.upload_timeout_seconds)
        return {
            "method": request.method,
            "url": request.path,
            "params": dict(request.query) or None,
            "headers": dict(request.headers),
            "timeout": httpx.Timeout(seconds, connect=min(seconds, 10.0)),
        }


def connection(
    url: str,
    key: str | None,
    timeout_seconds: float,
    upload_timeout_seconds: float,
    retries: int | Retries,
) -> Connection:
    """Return a connection; blanks around the key, such as a file's last line end, are cut off."""
    policy = Retries(retries) if isinstance(retries, int) else retries
    stripped = None if key is None else key.strip()
    return Connection(url, stripped, timeout_seconds, upload_timeout_seconds, policy)


def client_version() -> str:
    """Return the installed version; `0` where the package is used from its folder."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def _is_plain(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
