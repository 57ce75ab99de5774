"""Figures: named numbers with their unit, printed for people and as one line of JSON."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `note` says what was measured and how often."""

    name: str
    value: float
    unit: str
    note: str = ""


def machine() -> dict[str, str | int | float]:
    """Describe the machine that the figures were measured on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "python": platform.python_version(),
    }


def report(bench: str, figures: list[Figure], settings: Mapping[str, object]) -> None:
    """Print a table and, as the last line, JSON."""
    width = max(len(f.name) for f in figures)
    print(f"\n{bench} on {machine()}")
    for f in figures:
        print(f"  {f.name:{width}}  {f.value:12.4g} {f.unit:8} {f.note}")
    named = {f.name: f.value for f in figures}
    print(json.dumps({"bench": bench, **settings, "figures": named, "machine": machine()}))


def spread(values_ms: list[float]) -> str:
    """Return minimum, 90th percentile and count of repeated times, for a note."""
    a = np.array(values_ms)
    return f"median of {len(a)}; min {a.min():.3g}, p90 {np.quantile(a, 0.9):.3g}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
