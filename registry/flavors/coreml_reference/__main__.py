"""The tool: evaluates a Core ML package on rows, on any machine.

    python -m registry.flavors.coreml_reference model.mlpackage rows.npy
    python -m registry.flavors.coreml_reference model.mlpackage rows.npy --out scores.npy
    python -m registry.flavors.coreml_reference model.mlpackage --ops

It prints the shape of the scores and the first of them, or writes all of them to a file. A refusal
is one line on stderr and exit code 1.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.command_line import run
from registry.errors import TableError
from registry.flavors.coreml_reference.models import Model, open_model
from registry.flavors.coreml_reference.packages import read_folder

FIRST = 5
UNREADABLE = (OSError, ValueError, EOFError, MemoryError, OverflowError, SyntaxError, TokenError)
"""What numpy raises for a file that is no array: its header is a Python literal."""
CHUNK_ROWS = 512


def print_operations(model: Model) -> None:
    """Print what the package holds: input, output and how often each operation occurs."""
    rows = ", ".join(map(str, (model.rows, *model.row_shape)))
    print(f"input {model.input.name} {model.input.dtype} ({rows})")
    sizes = ", ".join("rows" if size is None else str(size) for size in model.output_shape)
    print(f"output {model.output.name} {model.output.dtype} ({sizes})")
    for name, count in sorted(model.operations.items()):
        print(f"{count:8} {name}")


def scores_of(model: Model, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of rows, evaluated in chunks that the package takes."""
    size = min(CHUNK_ROWS, model.rows.high or CHUNK_ROWS)
    starts = range(0, max(len(rows), 1), size)
    return np.concatenate([model(rows[at : at + size]) for at in starts])


def print_scores(scores: NDArray[np.float32]) -> None:
    """Print the shape of scores, the first rows, and how many are not finite."""
    print(f"scores of shape {scores.shape}")
    for row in scores[:FIRST]:
        print(" ".join(f"{score:.7g}" for score in np.atleast_1d(row)))
    if beyond := int((~np.isfinite(scores)).sum()):
        print(f"{beyond} scores are not finite")


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate a package on the rows of a file, or list its operations."""
    wanted = _parser().parse_args(argv)
    model = open_model(read_folder(wanted.package))
    if wanted.ops:
        print_operations(model)
    if wanted.rows is None:
        return
    scores = scores_of(model, _read_rows(wanted.rows))
    if wanted.out is None:
        print_scores(scores)
        return
    with wanted.out.open("wb") as file:
        np.save(file, scores)


def _read_rows(path: Path) -> NDArray[np.float32]:
    """Return the rows of a .npy file as float32; no pickle is read.

    Raises:
        TableError: it cannot be read, or holds no numbers.
    """
    try:
        rows: NDArray[Any] = np.load(path, allow_pickle=False)
    except UNREADABLE as exc:
        first = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise TableError(f"{path} cannot be read as .npy: {first}") from exc
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        raise TableError(f"{path} holds no array of numbers")
    return np.ascontiguousarray(rows, np.float32)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m registry.flavors.coreml_reference",
        description="Evaluate a Core ML package with numpy.",
    )
    parser.add_argument("package", type=Path, help="the folder model.mlpackage")
    parser.add_argument("rows", type=Path, nargs="?", help="features (sample, [step,] feature)")
    parser.add_argument("--out", type=Path, help="write the scores there as .npy")
    parser.add_argument("--ops", action="store_true", help="print the operations with counts")
    return parser


if __name__ == "__main__":
    run(main)
