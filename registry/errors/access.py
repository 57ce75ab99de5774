"""Who may do what: no valid key, not enough rights, or too many requests."""

from collections.abc import Iterable

from registry.errors.families import MLEngineError, SettingsError, listed


class AccessError(MLEngineError):
    """The caller may not do this."""


class UnauthenticatedError(AccessError):
    """There is no key, or the key is not valid."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{reason}; send a key as 'Authorization: Bearer ID.SECRET' or 'X-API-Key: ID.SECRET'"
        )


class ForbiddenError(AccessError):
    """The key is valid but does not allow this."""

    def __init__(self, wanted: str, allowed: Iterable[str]) -> None:
        self.wanted, self.allowed = wanted, tuple(sorted(allowed))
        super().__init__(f"this key does not allow {wanted}; it allows: {listed(self.allowed)}")


class HostNotAllowedError(AccessError):
    """The request was sent to a host name, or from a web page, that is not served."""

    def __init__(self, header: str, setting: str) -> None:
        self.header, self.setting = header, setting
        super().__init__(f"requests with this {header} are not answered; {setting} lists which are")


class TooManyRequestsError(AccessError):
    """The key has used up its requests for now."""

    def __init__(self, per_minute: int, retry_after_seconds: int) -> None:
        self.per_minute, self.retry_after_seconds = per_minute, retry_after_seconds
        super().__init__(
            f"this key may send {per_minute} requests per minute; try again in "
            f"{retry_after_seconds} s"
        )


class NoKeysError(SettingsError):
    """A server that others can reach has no valid key."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"ML_ENGINE_HOST={host} opens the port to other machines, and no valid key exists; "
            "make one with python -m serving.keys make, or name a secret file in FIRST_KEY_FILE"
        )
