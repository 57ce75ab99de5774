"""Panels of the version's artifacts: what each is worth beside native, and every file's size."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from pipelines.report import Blocks, Evidence, Grid
from registry.flavors import Artifact
from registry.flavors.parity import EXTREMES, LABELS, gate_name
from registry.gates import GateRow, Record
from registry.version_files import artifacts

SCHEMA = {
    "artifact": pl.String(),
    "bytes": pl.Int64(),
    "difference": pl.Float64(),
    "limit": pl.Float64(),
    "on_extremes": pl.Float64(),
    "same_class": pl.Float64(),
    "remark": pl.String(),
}


def artifact_tables(record: Record, directory: Path) -> dict[str, pl.DataFrame]:
    """Return tables `artifacts` and `files` of a version whose files lie in a directory.

    Artifacts that the version does not carry are among them, with the reason.
    """
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in paths}
    files = pl.DataFrame(list(sizes.items()), schema=["file", "bytes"], orient="row")
    lines = [_line(artifact, record, sizes) for artifact in _named(record)]
    table = pl.DataFrame(lines, schema=SCHEMA, orient="row")
    return {"artifacts": table, "files": files} if lines else {}


def compared(evidence: Evidence) -> Blocks:
    """Tabulate the artifacts and how far each is from native."""
    formats = {"difference": ".1e", "limit": ".0e", "on_extremes": ".1e", "same_class": ".2%"}
    return (Grid(evidence.tables["artifacts"], formats),)


def files(evidence: Evidence) -> Blocks:
    """Tabulate the version's files."""
    return (Grid(evidence.tables["files"], {"bytes": ","}),)


def _named(record: Record) -> Iterable[Artifact]:
    """Return the artifacts of the parity rows, in their order."""
    parts = (row.gate.split(".") for row in record if row.gate.startswith("parity."))
    return dict.fromkeys(Artifact(*part[1:3]) for part in parts if len(part) > 2)


def _line(
    artifact: Artifact, record: Record, sizes: Mapping[str, int]
) -> tuple[str, int | None, float | None, float | None, float | None, float | None, str]:
    rows = _worst(record)
    row = rows[gate_name(artifact)]
    extremes, labels = (rows.get(gate_name(artifact, measure)) for measure in (EXTREMES, LABELS))
    paths = artifacts(sizes).get(artifact, ())
    highest = row.limit if isinstance(row.limit, float) else None
    return (
        str(artifact),
        sum(sizes[path] for path in paths) if paths else None,
        row.value,
        highest if row.applicable else None,
        extremes.value if extremes else None,
        labels.value if labels else None,
        row.note,
    )


def _worst(record: Record) -> dict[str, GateRow]:
    """Return gate -> its row; of several the first that did not pass."""
    found: dict[str, GateRow] = {}
    for row in sorted(record, key=lambda row: row.passed):
        found.setdefault(row.gate, row)
    return found
