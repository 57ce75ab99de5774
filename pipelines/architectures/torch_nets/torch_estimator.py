"""A fitted torch module as an estimator: raw scores, importance, the native model.

The module maps `(sample, [step,] feature)` to `(sample, score)`. The architectures build it, and
`pipelines.architectures.torch_nets.training_loop` fits it. It predicts on the processor, wherever
it was fitted, so that its scores are those of the native file bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.architectures import Estimator
from registry.flavors import NativeModel
from registry.flavors.programs import save_program

CHUNK_ROWS = 512
"""Windows per call; larger batches of windows are slower on a processor."""

IMPORTANCE_ROWS = 1000


class TorchEstimator(Estimator):
    """A fitted module; `predict` takes rows of the shape it was fitted on."""

    def __init__(
        self, module: nn.Module, n_scores: int, row_shape: tuple[int, ...], n_threads: int = 1
    ) -> None:
        self.n_scores = n_scores
        self._n_threads = n_threads
        self._module = module.cpu().eval().requires_grad_(False)
        self._row_shape = row_shape

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw scores, float32 (n, n_scores)."""
        size = CHUNK_ROWS if X.ndim == 3 else max(1, len(X))
        scores = np.empty((len(X), self.n_scores), np.float32)
        with torch.inference_mode(), threads(self._n_threads):
            for start in range(0, len(X), size):
                chunk = torch.tensor(X[start : start + size])
                scores[start : start + size] = self._module(chunk).numpy()
        return scores

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return mean |gradient x (input - mean input)| over evenly spaced rows, summing to 1.

        Added over the steps of a window before the absolute value is taken, so that one
        feature's steps can cancel, and over the scores after it. Where no score depends on any
        input, every feature gets the same share.
        """
        rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), IMPORTANCE_ROWS)).astype(np.intp))
        inputs = torch.tensor(X[rows], requires_grad=True)
        offset = (inputs - inputs.mean(dim=0)).detach()
        share = torch.zeros(inputs.shape[-1], dtype=torch.float64)
        with threads(self._n_threads):
            scores = self._module(inputs)
            for k in range(self.n_scores):
                (slope,) = torch.autograd.grad(scores[:, k].sum(), inputs, retain_graph=True)
                effect = (slope * offset).reshape(len(rows), -1, inputs.shape[-1]).sum(dim=1)
                share += effect.abs().mean(dim=0).double()
        total = float(share.sum())
        values: NDArray[np.float64] = share.numpy()
        return values / total if total > 0 else np.full(len(values), 1.0 / len(values))

    def native(self) -> NativeModel:
        """Return the module as a `torch.export` file with a dynamic batch dimension."""
        return NativeModel("torch-export", save_program(self._module, self._row_shape))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with this many of torch's threads; the process's number is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
