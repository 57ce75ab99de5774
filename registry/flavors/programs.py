"""Programs: reading and writing `torch.export` files (`.pt2`).

A `.pt2` file is a program, not just numbers: `open_program` is called only on bytes whose digest
was recorded when our own convert stage wrote them. Reading it needs torch and no class of ours.
"""

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry.errors import UnreadableArtifactError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def save_program(module: "nn.Module", row_shape: tuple[int, ...]) -> bytes:
    """Return a module as a `.pt2` file that takes any number of rows.

    Args:
        module: on the CPU, in evaluation mode; maps float32 `(sample, *row_shape)` to scores.
    """
    import torch

    example = torch.zeros((2, *row_shape))
    sample = torch.export.Dim("sample")
    with warnings.catch_warnings():
        # nn.LSTM keeps a list of its weights beside its parameters; export notes the list and
        # restores it, and exports the parameters themselves
        warnings.filterwarnings("ignore", message="The tensor attributes", category=UserWarning)
        program = torch.export.export(module, (example,), dynamic_shapes=({0: sample},))
    for node in program.graph.nodes:  # the path and the lines of our source, on each operation
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def open_program(payload: bytes) -> "ExportedProgram":
    """Return the exported program of a `.pt2` file.

    Raises:
        UnreadableArtifactError: the bytes are not such a file, or torch cannot read it; the
            message says which version of torch wrote it where the file does.
    """
    import torch

    if not zipfile.is_zipfile(io.BytesIO(payload)):
        raise UnreadableArtifactError("native", "not a .pt2 archive")
    try:
        with quiet(_LOADER_LOG):
            return torch.export.load(io.BytesIO(payload))
    except (RuntimeError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as exc:
        author = _author(payload)
        wrote = f"torch {author} wrote it, " if author else ""
        cause = f"{wrote}torch {torch.__version__} cannot load it"
        raise UnreadableArtifactError("native", cause) from exc


@contextmanager
def quiet(log: logging.Logger) -> Iterator[None]:
    """Silence what torch logs below the level of errors: tracebacks of what it then raises."""
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


_LOADER_LOG = logging.getLogger("torch.export")


def _author(payload: bytes) -> str | None:
    """Return the version of torch that wrote a `.pt2` file, if the file says so."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            described = [n for n in archive.namelist() if n.endswith("/models/model.json")]
            return str(json.loads(archive.read(described[0]))["torch_version"])
    except (zipfile.BadZipFile, IndexError, ValueError, KeyError, TypeError):
        return None
