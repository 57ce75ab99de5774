"""Threads: a limit for a fit by scikit-learn or hmmlearn, without changing the process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

from registry.contract import Json


@contextmanager
def limited_threads(n_threads: Json) -> Iterator[None]:
    """Limit OpenMP and BLAS to `n_threads` within the block."""
    with _pools(len(sys.modules)).limit(limits=int(str(n_threads))):
        yield


@lru_cache(maxsize=1)
def _pools(_n_modules: int) -> ThreadpoolController:
    """Return the pools of the libraries that are loaded; a new one comes with new modules.

    Looking for them takes longer than a small fit.
    """
    return ThreadpoolController()
