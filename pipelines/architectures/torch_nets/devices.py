"""Devices: where a torch fit runs, in which precision, and whether its memory is full.

`auto` takes the first of cuda, mps and cpu that this machine has. Autocast to bfloat16 is used on
cuda only: a processor gains nothing from it at the sizes fitted here.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from registry.errors import ParameterError

DEVICES = ("cuda", "mps", "cpu")
"""In order of preference."""


def choose(wanted: str) -> torch.device:
    """Return the device of a name; for `auto` the best that this machine has.

    Raises:
        ParameterError: an unknown device, or one that is not here.
    """
    here = [name for name in DEVICES if _is_here(name)]
    if wanted == "auto":
        return torch.device(here[0])
    if wanted not in here:
        raise ParameterError("device", wanted, f"auto or what this machine has: {', '.join(here)}")
    return torch.device(wanted)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the precision that a forward pass runs in: bfloat16 where cuda has it."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def seeded(device: torch.device) -> list[int]:
    """Return the cuda devices whose random state a fit changes, beside the processor's."""
    return [torch.cuda.current_device()] if device.type == "cuda" else []


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a device ran out of memory; mps says so only in its message."""
    return isinstance(error, torch.OutOfMemoryError) or "backend out of memory" in str(error)


def release(device: torch.device) -> None:
    """Give the memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _is_here(name: str) -> bool:
    if name == "cuda":
        return torch.cuda.is_available()
    return name == "cpu" or torch.backends.mps.is_available()
