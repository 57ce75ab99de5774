"""Programs: reading and writing `torch.export` files (`.pt2`).

A `.pt2` file is a program, not just numbers: `open_program` is called only on bytes whose digest
was recorded when our own convert stage wrote them. Reading it needs torch and no class of ours.
"""

import io
import zipfile
from typing import TYPE_CHECKING

from registry.errors import UnreadableArtifactError

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def open_program(payload: bytes) -> "ExportedProgram":
    """Return the exported program of a `.pt2` file.

    Raises:
        UnreadableArtifactError: the bytes are not such a file, or torch cannot read it.
    """
    import torch

    if not zipfile.is_zipfile(io.BytesIO(payload)):
        raise UnreadableArtifactError("native", "not a .pt2 archive")
    try:
        return torch.export.load(io.BytesIO(payload))
    except (RuntimeError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as exc:
        raise UnreadableArtifactError("native", "torch cannot load it") from exc
