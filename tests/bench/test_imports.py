"""Every bench starts: a renamed name in one would only be found by whoever measures next."""

import importlib
from pathlib import Path

import pytest

import bench

MODULES = sorted(path.stem for path in Path(bench.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_bench_can_be_imported(name):
    importlib.import_module(f"bench.{name}")
