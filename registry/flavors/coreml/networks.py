"""Networks: a `.pt2` file as a trace that coremltools converts.

coremltools' own reader of torch.export fails on an RNN and names outputs by chance; it reads a
trace of the same program well. The trace is made once for all variants of a version.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from registry.flavors.torchscript import trace_program

if TYPE_CHECKING:
    from torch.jit import ScriptModule


@lru_cache(maxsize=1)
def trace(payload: bytes) -> "ScriptModule":
    """Return the trace of a `.pt2` file; it takes any number of rows.

    Raises:
        UnsupportedModelError: an operation that fixes a device or a batch size.
        UnreadableArtifactError: the bytes are not such a file.
    """
    with _plain_attention():
        return trace_program(payload)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off torch's fused attention layer, one operator that no converter knows."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
