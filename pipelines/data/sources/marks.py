"""Marks: how a file says that its bars are synthetic, so that nobody takes them for real ones.

A synthetic file is called `*.synthetic.parquet` and has keys in its Parquet metadata. A reader
warns on either: a copy under another name keeps the keys, a conversion to CSV keeps the name.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from pipelines.data.sources.tables import PARQUET_SUFFIXES

SUFFIX = ".synthetic.parquet"
KIND_KEY, NOTE_KEY = "nautilus_ml_engine.kind", "nautilus_ml_engine.note"
SYNTHETIC = "synthetic"


def synthetic_metadata(note: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the Parquet metadata of a synthetic file; `note` starts with `synthetic`."""
    assert note.startswith(SYNTHETIC)
    return {KIND_KEY: SYNTHETIC, NOTE_KEY: note} | {
        f"nautilus_ml_engine.{name}": value for name, value in facts.items()
    }


def notes_of(paths: Iterable[Path]) -> str:
    """Return the notes of all files, each once; empty where none is synthetic."""
    return "; ".join(dict.fromkeys(note for path in paths if (note := note_of(path))))


def note_of(path: Path) -> str:
    """Return the note of a synthetic file, which starts with `synthetic`; empty for any other."""
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        metadata = pl.read_parquet_metadata(path)
        if metadata.get(KIND_KEY) == SYNTHETIC:
            return metadata.get(NOTE_KEY, SYNTHETIC)
    return SYNTHETIC if f".{SYNTHETIC}." in path.name.lower() else ""
