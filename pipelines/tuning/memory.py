"""The memory of a worker: looked at after each fold, so that one trial ends and not the process."""

from dataclasses import dataclass

import psutil

from pipelines.tuning.shared_rows import SharedRows
from registry.errors import MemoryBudgetError

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The most megabytes that the process may hold; 0 means no limit."""

    megabytes: int = 0

    def check(self, rows: SharedRows) -> None:
        """Refuse to go on with a trial beyond the limit, after rows of other recipes are forgotten.

        Raises:
            MemoryBudgetError: it is still beyond it.
        """
        if not self.megabytes or held_megabytes() <= self.megabytes:
            return
        rows.forget()
        if (held := held_megabytes()) > self.megabytes:
            raise MemoryBudgetError(held, self.megabytes)


NO_MEMORY_LIMIT = MemoryLimit()


def held_megabytes() -> float:
    """Return the resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / MEGABYTE
