"""Gates: what a version must show before an alias may point at it. Closed by default.

`validate` writes rows (gate, value, limit); this module knows which rows each lock requires and
compares. It computes nothing: a row that is missing or reads `not computed` is a refusal.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Comparison = Literal["<", "<=", ">", ">=", "between", "is"]


@dataclass(frozen=True, slots=True)
class GateRow:
    """One measured value beside its limit.

    `value` None means not computed (refuses) unless `applicable` is False. `limit` is a pair for
    `between` (both ends included) and 1.0 for `is` (value 1.0 means yes). `note` says how the
    value was measured, or why it was not.
    """

    gate: str
    value: float | None
    comparison: Comparison
    limit: float | tuple[float, float]
    note: str = ""
    applicable: bool = True

    @property
    def passed(self) -> bool:
        """Whether the value is there, finite and within its limit."""
        if self.value is None or not math.isfinite(self.value):
            return False
        if isinstance(self.limit, tuple):
            return self.limit[0] <= self.value <= self.limit[1]
        return {
            "<": self.value < self.limit,
            "<=": self.value <= self.limit,
            ">": self.value > self.limit,
            ">=": self.value >= self.limit,
            "is": self.value == self.limit,
            "between": False,
        }[self.comparison]

    def line(self) -> str:
        """Return `gate: value, needs comparison limit (note)` for people."""
        shown = "not computed" if self.value is None else f"{self.value:.6g}"
        limit = self.limit
        wanted = (
            f"in [{limit[0]:g}, {limit[1]:g}]"
            if isinstance(limit, tuple)
            else f"{self.comparison} {limit:g}"
        )
        return f"{self.gate}: {shown}, needs {wanted}{f' ({self.note})' if self.note else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with `passed` for readers."""
        return asdict(self) | {"passed": self.passed}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "GateRow":
        """Return the row that `to_json` wrote."""
        limit = facts["limit"]
        return cls(
            facts["gate"],
            facts["value"],
            facts["comparison"],
            (limit[0], limit[1]) if isinstance(limit, list | tuple) else limit,
            facts["note"],
            facts["applicable"],
        )


def not_computed(gate: str, comparison: Comparison, limit: float, why: str) -> GateRow:
    """Return the row of a gate that nothing has measured yet; it refuses."""
    return GateRow(gate, None, comparison, limit, f"not computed: {why}")


Record = Sequence[GateRow]
