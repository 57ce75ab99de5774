"""Threads: a limit for a fit by scikit-learn or hmmlearn, without changing the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from registry.contract import Json


@contextmanager
def limited_threads(n_threads: Json) -> Iterator[None]:
    """Limit OpenMP and BLAS to `n_threads` within the block."""
    with threadpool_limits(int(str(n_threads))):
        yield
