"""Families of errors: one per way of answering, and how a message shows what it was given.

Errors know nothing of HTTP: `serving/errors.py` holds the one table from family to status.
"""

import re
from collections.abc import Iterable
from reprlib import Repr
from typing import ClassVar

PLAIN_NAME = re.compile(r"[A-Za-z0-9_^][A-Za-z0-9._:/^=\- ]{0,199}")
"""What a name looks like: of a model, a symbol, a column, a setting. Nothing else is repeated."""

_REPR = Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict = 3, 8, 8
_REPR.maxstring, _REPR.maxlong, _REPR.maxother = 120, 60, 120


class MLEngineError(Exception):
    """Root of every deliberate error; `str(error)` is one line for people.

    That line may show the value that was wrong, which helps whoever runs a stage. A caller of the
    API gets `for_callers` and `facts`, which repeat nothing that was sent but plain names: answers
    end up in logs and on pages of others.

    Args:
        message: the line.
        for_callers: the line for callers, where it differs.
    """

    given: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold what a caller sent; no facts for callers."""
    names: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold a name that a caller sent; told only if it is a plain one."""

    def __init__(self, message: str = "", for_callers: str = "") -> None:
        super().__init__(message)
        self._for_callers = for_callers

    @property
    def code(self) -> str:
        """The stable code: the class's name in snake case without `Error`."""
        name = type(self).__name__.removesuffix("Error")
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

    @property
    def for_callers(self) -> str:
        """The line without values that were sent."""
        text = self._for_callers or str(self)
        for name in (str(getattr(self, attribute)) for attribute in self.names):
            text = text.replace(repr(name), repr(named(name)))
        return text

    @property
    def facts(self) -> dict[str, object]:
        """The error's attributes without values that were sent."""
        found = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        hidden = {name: named(str(found[name])) for name in self.names if name in found}
        return {k: v for k, v in (found | hidden).items() if k not in self.given}


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


def named(name: str) -> str:
    """Return a name as callers may see it: itself if it is a plain one, else three dots."""
    return name if PLAIN_NAME.fullmatch(name) else "..."


def shown(value: object) -> str:
    """Return `repr(value)`, cut where it is long or deep: a message stays one readable line."""
    return _REPR.repr(value)
