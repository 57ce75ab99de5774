"""Devices of boosted trees: a GPU when there is one and the library can use it, else the CPU.

Nothing falls back in silence. The context's `notice` says so when a GPU was asked for and is not
used, and when a GPU is here that a fit cannot use.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipelines.architectures import FitContext

GPU_FOLDER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists the GPUs of a Linux machine."""

T = TypeVar("T")


def has_gpu() -> bool:
    """Return whether an NVIDIA GPU is here, without importing a library for it."""
    return GPU_FOLDER.is_dir() and any(GPU_FOLDER.iterdir())


def fit_on_best(
    context: FitContext,
    library: str,
    unsupported: str | None,
    fit: Callable[[bool], T],
    failure: type[Exception],
) -> T:
    """Fit on a GPU where that is wanted and possible, else on the CPU; return the fit.

    Args:
        unsupported: why this build or fit cannot use a GPU; None when it can.
        failure: the library's error; on a GPU it leads to the CPU with a notice, on the CPU it is
            raised.
    """
    if context.device == "cpu" or (context.device == "auto" and not has_gpu()):
        return fit(False)
    reason = unsupported
    if context.device == "mps":
        reason = "it has no kernels for mps"
    elif not has_gpu():
        reason = "no NVIDIA GPU is here"
    if reason is None:
        try:
            return fit(True)
        except failure as exc:
            reason = str(exc).strip().partition("\n")[0]
    if context.notice is not None:
        context.notice(f"{context.name}: {library} fits on the CPU, not on a GPU: {reason}")
    return fit(False)
