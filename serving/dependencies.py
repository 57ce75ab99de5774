"""Dependencies: whether what this process uses answers, asked so that nobody waits for it.

A dependency that hangs costs one thread, however often it is asked about: a new question is put
only after the one before has been answered. Who asks waits `PATIENCE_SECONDS` at most for a fresh
answer, and nothing while an old question is overdue.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Generic, TypeVar

import sqlalchemy as sa
import structlog

from registry.errors import MLEngineError

PATIENCE_SECONDS = 0.5
FRESH_SECONDS = 1.0
"""An answer is used again for this long."""
SECRETS = (
    (re.compile(r"://\S*@"), "://***@"),  # a password may hold / and @
    (re.compile(r"(?i)\b(password|passwd|pwd|secret|token)=[^&\s]+"), r"\1=***"),
)

log = structlog.get_logger("serving.dependencies")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a dependency said. `value` is None when it did not answer; `problem` says why."""

    value: T | None
    problem: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Question:
    put: float
    answered: Future[None]

    @property
    def seconds(self) -> float:
        return monotonic() - self.put


class Probe(Generic[T]):
    """Asks one dependency. Safe for threads.

    Args:
        name: of the thread, for people who look at a running process.
        ask: returns what the dependency says, or raises what says why it does not; may hang.
    """

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        self._name, self._ask = name, ask
        self._lock = threading.Lock()  # guards the two below
        self._open: _Question | None = None
        self._newest: tuple[float, Answer[T]] | None = None

    def newest(self) -> Answer[T] | None:
        """Return the newest answer, or that one is overdue; None before the first."""
        with self._lock:
            question = self._open
            if question is not None and question.seconds >= PATIENCE_SECONDS:
                overdue = f"no answer for {question.seconds:.1f} s"
                return Answer(None, overdue, datetime.now(UTC))
            return None if self._newest is None else self._newest[1]

    def refresh(self) -> None:
        """Put the question, unless it is open or freshly answered; returns at once."""
        self._question()

    async def answer(self) -> Answer[T]:
        """Return an answer of the last second, or say that one is overdue."""
        question = self._question()
        if question is not None:
            await _wait(question.answered, PATIENCE_SECONDS - question.seconds)
        return self.newest() or Answer(None, "not answered yet", datetime.now(UTC))

    def _question(self) -> _Question | None:
        """Return the open question; a new one where the newest answer is old, else None."""
        with self._lock:
            if self._open is not None:
                return self._open
            if self._newest is not None and monotonic() - self._newest[0] < FRESH_SECONDS:
                return None
            self._open = question = _Question(monotonic(), Future())
            question.answered.set_running_or_notify_cancel()
        threading.Thread(
            target=self._put, args=(question,), name=f"ask-{self._name}", daemon=True
        ).start()
        return question

    def _put(self, question: _Question) -> None:
        answer = _asked(self._ask)
        with self._lock:
            self._open, self._newest = None, (monotonic(), answer)
        question.answered.set_result(None)


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _asked(ask: Callable[[], T]) -> Answer[T]:
    try:
        return Answer(ask(), None, datetime.now(UTC))
    except (OSError, sa.exc.SQLAlchemyError, MLEngineError) as exc:
        lines = str(exc).splitlines()
        return Answer(None, masked(lines[0] if lines else type(exc).__name__), datetime.now(UTC))
    except Exception as exc:  # the thread ends here; the answer says what happened
        log.exception("dependency not asked")
        return Answer(None, type(exc).__name__, datetime.now(UTC))


async def _wait(answered: Future[None], seconds: float) -> None:
    if seconds <= 0:
        return
    waiting = asyncio.wrap_future(answered)
    try:
        await asyncio.wait([waiting], timeout=seconds)
    finally:
        waiting.cancel()  # the question itself stays open
