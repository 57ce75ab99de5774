"""Posted bars: who posted which, as events.

A feed posts many times a second, and the event log keeps every event for ever. So what one caller
posts of one interval is told once a minute, with counts: at once for the first bars, then together.
What is not told yet when the process is killed is missing in the log; the bars are not.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic

import sqlalchemy as sa
import structlog

from registry import events

TOLD_SECONDS = 60.0

log = structlog.get_logger("serving.posted_bars")


@dataclass(frozen=True, slots=True)
class _Counts:
    """What one caller posted of one interval since it was told last."""

    told_at: float
    accepted: int = 0
    conflicts: int = 0
    refused: int = 0
    symbols: frozenset[str] = frozenset()


class PostedBars:
    """Counts bars, and tells of them from a thread of its own. Safe for threads.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, database: sa.Engine, clock: Callable[[], float] = monotonic) -> None:
        self._database, self._clock = database, clock
        self._lock = Lock()  # guards the counts
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="posted-bars")

    def count(
        self,
        actor: str,
        interval: str,
        symbols: frozenset[str],
        accepted: int,
        conflicts: int,
        refused: int = 0,
    ) -> None:
        """Count what was posted, and return at once; what is due is told soon."""
        key, now = (actor, interval), self._clock()
        with self._lock:
            before = self._counts.get(key, _Counts(now - TOLD_SECONDS))
            self._counts[key] = replace(
                before,
                accepted=before.accepted + accepted,
                conflicts=before.conflicts + conflicts,
                refused=before.refused + refused,
                symbols=before.symbols | symbols,
            )
            is_due = any(now - c.told_at >= TOLD_SECONDS for c in self._counts.values())
        if is_due:
            self._thread.submit(self._tell, now - TOLD_SECONDS)

    def close(self) -> None:
        """Tell of everything that has not been told."""
        self._thread.submit(self._tell, float("inf"))
        self._thread.shutdown(wait=True)

    def _tell(self, told_before: float) -> None:
        """Append an event for each caller and interval that was not told of since a time."""
        with self._lock:
            due = {k: c for k, c in self._counts.items() if c.told_at <= told_before}
            self._counts |= dict.fromkeys(due, _Counts(self._clock()))
        for key, counts in due.items():
            if not (counts.accepted or counts.conflicts or counts.refused):
                continue
            try:
                self._append(*key, counts)
            except sa.exc.SQLAlchemyError as exc:
                log.warning("posted bars not told", error=str(exc).partition("\n")[0])
                told = (counts.accepted, counts.conflicts, counts.refused)
                self.count(*key, counts.symbols, *told)

    def _append(self, actor: str, interval: str, counts: _Counts) -> None:
        with self._database.begin() as connection:
            events.append(
                connection,
                "bars_posted",
                actor=actor,
                reason=f"{counts.accepted} bars of {len(counts.symbols)} symbols",
                facts={
                    "interval": interval,
                    "accepted": counts.accepted,
                    "conflicts": counts.conflicts,
                    "refused": counts.refused,
                    "n_symbols": len(counts.symbols),
                },
            )
