"""Silence: conversions write nothing to the terminal and leave warnings and logs as they were."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

LOG = logging.getLogger("coremltools")


@contextmanager
def silence() -> Iterator[None]:
    """Drop what coremltools says inside the block: warnings, log lines, progress bars.

    On every import it warns of the versions of torch and scikit-learn, and on Linux of the Apple
    libraries that it misses.
    """
    before = LOG.level
    nowhere = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        LOG.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            LOG.setLevel(before)
