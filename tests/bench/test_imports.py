"""Every bench starts: a renamed name in one would only be found by whoever measures next."""

import importlib
from pathlib import Path

import pytest

import bench

HERE = Path(bench.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(HERE).with_suffix("").parts)
    for path in (*HERE.glob("[a-z]*.py"), *HERE.glob("automl/[a-z]*.py"))
)


@pytest.mark.parametrize("name", MODULES)
def test_a_bench_can_be_imported(name):
    importlib.import_module(f"bench.{name}")
