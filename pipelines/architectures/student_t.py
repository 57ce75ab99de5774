"""Multivariate Student t: fitted to standardised residuals, drawn in torch.

The shape is the Ledoit-Wolf covariance of the residuals; the degrees of freedom maximise the
likelihood given that shape. Draws are normals over one chi-squared per draw, so that all symbols
are struck together (Kotz and Nadarajah 2004, ch. 1).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.method.risk_measures import ledoit_wolf

Array = NDArray[np.float64]

FREEDOMS = 2 + np.geomspace(0.05, 198, 800)
"""Degrees of freedom to try, each 1 % further from 2. Below 2 there is no variance, at 200 it is
nearly a normal."""


@dataclass(frozen=True, slots=True)
class StudentT:
    """Mean zero; `covariance` (n_symbols, n_symbols), `shrinkage` in [0, 1]."""

    covariance: Array
    freedom: float
    shrinkage: float


def fit_student_t(residuals: Array) -> StudentT:
    """Fit residuals (n, n_symbols)."""
    covariance, shrinkage = ledoit_wolf(residuals)
    inverse = np.linalg.pinv(covariance)
    distance = np.einsum("ij,jk,ik->i", residuals, inverse, residuals)
    tried = [_log_likelihood(float(f), distance, residuals.shape[1]) for f in FREEDOMS]
    return StudentT(covariance, float(FREEDOMS[int(np.argmax(tried))]), shrinkage)


def draw(fitted: StudentT, n_draws: int, seed: int, device: str) -> Array:
    """Return draws (n_draws, n_symbols).

    Normals and chi-squared come from the processor's seeded generators, so that every device gives
    the same draws up to rounding; the device does the arithmetic.
    """
    import torch

    from pipelines.architectures.torch_nets.devices import choose

    place = choose(device)
    dtype = torch.float32 if place.type == "mps" else torch.float64  # mps has no float64
    generator = torch.Generator().manual_seed(seed)
    shape = (n_draws, len(fitted.covariance))
    normals = torch.randn(shape, generator=generator, dtype=torch.float64).to(place, dtype)
    chi_squared = np.random.default_rng(seed).chisquare(fitted.freedom, n_draws)
    stretch = torch.as_tensor(np.sqrt((fitted.freedom - 2) / chi_squared)).to(place, dtype)
    root = torch.as_tensor(_root(fitted.covariance)).to(place, dtype)
    drawn = (normals @ root.T) * stretch[:, None]
    return np.asarray(drawn.cpu().numpy(), dtype=np.float64)


def _log_likelihood(freedom: float, distance: Array, n_symbols: int) -> float:
    """Return the log likelihood of squared Mahalanobis distances, up to a constant of the shape."""
    n = len(distance)
    constant = math.lgamma((freedom + n_symbols) / 2) - math.lgamma(freedom / 2)
    constant -= n_symbols / 2 * math.log(freedom - 2)
    stretch = np.log1p(distance / (freedom - 2)).sum()
    return float(n * constant - (freedom + n_symbols) / 2 * stretch)


def _root(covariance: Array) -> Array:
    """Return R with R R' = covariance, also for symbols that move as one."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
