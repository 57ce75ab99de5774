"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable

import pytest


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen in time")
