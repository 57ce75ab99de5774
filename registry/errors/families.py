"""Families of errors: one per way of answering, and how a message shows what it was given.

Errors know nothing of HTTP: `serving/errors.py` holds the one table from family to status.
"""

from collections.abc import Iterable
from reprlib import Repr

_REPR = Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict = 3, 8, 8
_REPR.maxstring, _REPR.maxlong, _REPR.maxother = 120, 60, 120


class MLEngineError(Exception):
    """Root of every deliberate error; `str(error)` is one line for people."""


class InvalidInputError(MLEngineError, ValueError):
    """The caller sent something that can never be accepted as it is."""


class NotFoundError(MLEngineError, LookupError):
    """Something named does not exist."""


class ConflictError(MLEngineError):
    """The request is fine but the recorded state does not allow it now."""


class UnavailableError(MLEngineError):
    """A part needed for the answer is not there now; trying again later can help."""

    retry_after_seconds: int = 5


class DeadlineError(MLEngineError, TimeoutError):
    """The answer did not come in time."""


class ConversionError(MLEngineError):
    """A model could not be written in a flavor, or the written artifact disagrees with it."""


class ArtifactError(MLEngineError):
    """A stored artifact is missing, damaged or not what was registered."""


class SettingsError(MLEngineError):
    """An environment variable or a stage parameter cannot be used."""


def listed(names: Iterable[str]) -> str:
    """Return the names sorted, `none` for none."""
    return ", ".join(sorted(names)) or "none"


def shown(value: object) -> str:
    """Return `repr(value)`, cut where it is long or deep: a message stays one readable line."""
    return _REPR.repr(value)
