"""Golden answers: whether this code answers for a version as the code that made it did.

Everything fitted is stored and digested with a version. The code that turns scores into answers is
not: a change there would silently change what every registered version says. So the answers of a
few inputs are stored with the version (`ANSWERS_FILE`) and compared with those of today's code.

No alias is moved to a version that would answer differently. One that serves already goes on, and
/health shows what it said and what it says now, until a person accepts it (an event that holds the
accepted answers) or the model is fitted anew.

Templates turn scores into answers, and this package knows none; so what answers is found by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import cast

import sqlalchemy as sa

from registry import events
from registry.artifacts import ArtifactCache
from registry.catalog import Catalog
from registry.contract import Json
from registry.decoder import ARRAYS_FILE, JSON_FILE
from registry.errors import ArtifactError, NothingToAcceptError
from registry.settings import PlatformSettings
from registry.version_files import ANSWERS_FILE, CONTRACT_FILE, VersionFiles
from registry.version_rows import Version

GATE = "golden_answers"
ACCEPTED = "answers_accepted"
"""Kind of the event by which a person accepts the answers of today's code."""
RELATIVE, ABSOLUTE = 1e-6, 1e-12
"""Numbers agree within this share of the larger one, or within this distance: another processor
rounds the same float64 arithmetic to some 1e-13 of its terms. A variance per minute is about 1e-8,
so the distance hides no change of one."""
N_SHOWN = 3
AS_RECORDED = "as recorded when the version was made"
NOT_RECORDED = "registered without golden answers: whether this code changes them is not known"

NEEDED = (CONTRACT_FILE, JSON_FILE, ARRAYS_FILE, ANSWERS_FILE)
"""Files of a version that its golden answers are decoded from."""


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """A field that is different now; `answer` counts from 0, `field` is a path (`interval.lower`).

    A field that is gone is None now.
    """

    answer: int
    field: str
    old: Json
    new: Json

    def line(self) -> str:
        """Return the change for people."""
        return f"{self.field} of answer {self.answer} was {self.old!r}, is {self.new!r}"


@dataclass(frozen=True, slots=True)
class GoldenAnswers:
    """The answers that a version gave when it was made, and those that this code gives.

    Both are in the same order, each as callers get it.
    """

    recorded: tuple[Json, ...]
    now: tuple[Json, ...]

    @property
    def changes(self) -> tuple[AnswerChange, ...]:
        """Every field that is different; empty when this code answers as recorded."""
        return changes(self.recorded, self.now)


ANSWERS: Catalog[Callable[[VersionFiles], GoldenAnswers]] = Catalog(
    "golden answers", {"templates": "pipelines.recipes.golden_answers:golden_answers"}
)
"""What answers for a version that has an `ANSWERS_FILE`."""


def changes(old: Sequence[Json], new: Sequence[Json]) -> tuple[AnswerChange, ...]:
    """Return every field in which answers differ beyond rounding.

    A field that the old answers do not have is none: callers who do not know it read the others.
    """
    if len(old) != len(new):
        return (AnswerChange(0, "number of answers", len(old), len(new)),)
    pairs = enumerate(zip(old, new, strict=True))
    return tuple(AnswerChange(i, *found) for i, (a, b) in pairs for found in _different("", a, b))


def shown(found: Sequence[AnswerChange]) -> str:
    """Return changes in one line for people."""
    told = "; ".join(change.line() for change in found[:N_SHOWN])
    return f"{told} and {len(found) - N_SHOWN} more" if len(found) > N_SHOWN else told


def said_of(golden: GoldenAnswers | None) -> str:
    """Return how a version's answers compare with its golden ones, for people."""
    if golden is None:
        return NOT_RECORDED
    if not golden.changes:
        return AS_RECORDED
    return f"this code changes {n_answers(golden.changes)} of {len(golden.recorded)} golden answers"


def command(model_id: str, number: int) -> str:
    """Return the command by which a person accepts the answers of this code."""
    return f"python -m registry accept-answers {model_id} {number} --reason ..."


def n_answers(found: Sequence[AnswerChange]) -> int:
    """Return how many answers are changed."""
    return len({change.answer for change in found})


def unaccepted(
    engine: sa.Engine, model_id: str, number: int, golden: GoldenAnswers
) -> tuple[AnswerChange, ...]:
    """Return what this code changes in a version's answers, as nobody has accepted it.

    Answers that are as recorded, or as somebody accepted at any time, are not changed.
    """
    if not golden.changes:
        return ()
    stood_for = [golden.recorded, *_accepted(engine, model_id, number)]
    found = [changes(answers, golden.now) for answers in stood_for]
    return () if () in found else found[-1]


def accept(
    engine: sa.Engine, version: Version, golden: GoldenAnswers, *, actor: str, reason: str
) -> tuple[AnswerChange, ...]:
    """Append the event by which a person stands for the answers of this code; return the changes.

    Raises:
        NothingToAcceptError: this code answers as recorded, or as was accepted before.
    """
    found = unaccepted(engine, version.model_id, version.number, golden)
    if not found:
        raise NothingToAcceptError(version.model_id, version.number, "this code changes none")
    told = [{"answer": c.answer, "field": c.field, "old": c.old, "new": c.new} for c in found]
    with engine.begin() as connection:
        events.append(
            connection,
            ACCEPTED,
            actor=actor,
            reason=reason,
            model_id=version.model_id,
            number=version.number,
            facts={
                "n_changes": len(found),
                "changes": cast(Json, told[:N_SHOWN]),
                "answers": list(golden.now),
            },
        )
    return found


class AnswerCheck:
    """Compares versions' golden answers with this code's, once per version. Safe for threads.

    Neither the files of a version nor the code of this process changes; what people accept does,
    and is read each time.
    """

    def __init__(self, settings: PlatformSettings, engine: sa.Engine) -> None:
        self._engine = engine
        self._cache = ArtifactCache(settings, engine)
        self._known: dict[tuple[str, int], GoldenAnswers] = {}
        self._lock = Lock()  # guards `_known`

    def golden(self, version: Version) -> GoldenAnswers | None:
        """Return a version's answers then and now; None where none were recorded.

        Raises:
            ArtifactError: its files are not what was registered.
            RegistryUnavailableError, ArtifactStoreUnavailableError: they cannot be fetched.
        """
        if ANSWERS_FILE not in version.digests:
            return None
        which = version.model_id, version.number
        with self._lock:
            if which in self._known:
                return self._known[which]
        with self._cache.some_files(*which, NEEDED) as files:
            found = ANSWERS.get("templates")(files)
        with self._lock:
            self._known[which] = found
        return found

    def refusals(self, version: Version) -> tuple[str, ...]:
        """Return why no alias may move to a version; empty where it answers as it did.

        Raises:
            RegistryUnavailableError, ArtifactStoreUnavailableError: as `golden`.
        """
        try:
            golden = self.golden(version)
        except ArtifactError as exc:
            return (f"{GATE}: {exc}",)
        if golden is None:
            return ()
        which = version.model_id, version.number
        found = unaccepted(self._engine, *which, golden)
        if not found:
            return ()
        return (
            f"{GATE}: this code changes {n_answers(found)} of {len(golden.recorded)} answers "
            f"({shown(found)}); fit the model anew, or accept them: {command(*which)}",
        )


def _accepted(engine: sa.Engine, model_id: str, number: int) -> Iterator[Sequence[Json]]:
    """Yield the answers that people accepted for a version, oldest first."""
    for event in events.of_kind(engine, ACCEPTED, model_id, number):
        yield cast("list[Json]", event.facts["answers"])


def _different(field: str, old: Json, new: Json) -> Iterator[tuple[str, Json, Json]]:
    """Yield path, old and new value of each leaf that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in old:
            path = f"{field}.{name}" if field else str(name)
            yield from _different(path, old[name], new.get(name))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new, strict=True)):
            yield from _different(f"{field}.{i}", *pair)
    elif not _same(old, new):
        yield field or "answer", old, new


def _same(old: Json, new: Json) -> bool:
    if _is_number(old) and _is_number(new):
        return math.isclose(cast(float, old), cast(float, new), rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(old) is type(new) and old == new


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
