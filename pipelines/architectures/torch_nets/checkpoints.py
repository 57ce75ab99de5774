"""Checkpoints: the state of a torch fit between two epochs, on disk.

A file is replaced in one step, so a process killed at any moment leaves the state after some whole
epoch. The file is read with `weights_only`, which runs no code. Only the fit that wrote it may go
on from it: the same rows, initial weights, plan, seed and torch.
"""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A fit after `epoch` epochs.

    Epoch k draws its random numbers from a generator seeded by the fit's seed and k, so that no
    generator's state has to be kept. `history` holds each epoch's metrics; `stale` counts epochs
    since `best_loss`.
    """

    fingerprint: str
    epoch: int
    batch_size: int
    best_loss: float
    stale: int
    history: list[dict[str, float]]
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    optimizer: dict[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the file at `path` is the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def load(path: Path, fingerprint: str, device: torch.device) -> Checkpoint | str:
    """Return the checkpoint of the fit with this fingerprint, or the reason not to go on from one.

    The reason is empty where there is no file.
    """
    if not path.is_file():
        return ""
    if not zipfile.is_zipfile(path):
        return f"{path.name} is no checkpoint"
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as exc:
        return f"{path.name} cannot be read ({type(exc).__name__})"
    if not isinstance(stored, dict) or set(stored) != {f.name for f in fields(Checkpoint)}:
        return f"{path.name} is no checkpoint"
    found = Checkpoint(**stored)
    if found.fingerprint != fingerprint:
        return f"{path.name} belongs to a fit on other rows or with other parameters"
    return found


def fingerprint(
    facts: tuple[object, ...], arrays: tuple[NDArray[Any], ...], weights: Mapping[str, Tensor]
) -> str:
    """Return the SHA-256 of everything that a fit starts from.

    Args:
        facts: with a stable `repr`: names, numbers, frozen dataclasses of them.
    """
    sha = hashlib.sha256(repr((torch.__version__, *facts)).encode())
    for array in arrays:
        sha.update(repr((array.shape, array.dtype.str)).encode())
        sha.update(np.ascontiguousarray(array).data)
    for name, value in sorted(weights.items()):
        sha.update(repr((name, tuple(value.shape))).encode())
        sha.update(np.ascontiguousarray(value.detach().cpu().numpy()).data)
    return sha.hexdigest()
