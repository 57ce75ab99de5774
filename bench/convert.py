"""Seconds that `convert` takes for a version, with every flavor and with native and ONNX alone.

A child process writes what needs torch or coremltools. In `main` its imports run beside the
validation (`imported`); by hand, or when the validation is shorter, they are waited for (`cold`).
"""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.figures import Figure, report
from bench.flavors import candidate_of
from pipelines.convert import write_flavors
from pipelines.parameters import FlavorParameters
from pipelines.recipes.candidate import Candidate
from registry.command_line import run
from registry.errors import UnsupportedModelError
from registry.flavors import Artifact, NativeModel
from registry.flavors.conversion import Conversion, conversion
from registry.flavors.native import native_path

ARCHITECTURES = ("xgboost", "ridge", "random_forest", "hmm", "lstm", "transformer")
ALL, TWO = FlavorParameters(), FlavorParameters(flavors="native,onnx")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.convert", description=__doc__)
    parser.add_argument("names", nargs="*", default=ARCHITECTURES, help="architectures")
    figures: list[Figure] = []
    for name in parser.parse_args().names:
        with TemporaryDirectory() as folder:
            figures += _figures(name, candidate_of(name, Path(folder)))
    report("convert", figures, {})


def _figures(name: str, candidate: Candidate) -> Iterator[Figure]:
    with conversion() as writing:
        before = _seconds(candidate, TWO, writing)
    yield Figure(f"{name}_native_onnx_s", before, "s", "as without a child process")
    with conversion(ALL.libraries()) as writing:
        writing.start()
        _wait(candidate, writing)
        yield Figure(f"{name}_imported_s", _seconds(candidate, ALL, writing) - before, "s", "more")
    with conversion(ALL.libraries()) as writing:
        yield Figure(f"{name}_cold_s", _seconds(candidate, ALL, writing) - before, "s", "more")


def _seconds(candidate: Candidate, wanted: FlavorParameters, writing: Conversion) -> float:
    started = perf_counter()
    write_flavors(candidate, wanted, writing)
    return perf_counter() - started


def _wait(candidate: Candidate, writing: Conversion) -> None:
    """Wait until the child process has imported its libraries: it answers its first request."""
    contract = candidate.contract
    payload = (candidate.directory / native_path(contract.native_format)).read_bytes()
    native = NativeModel(contract.native_format, payload)
    with suppress(UnsupportedModelError):  # there is no such variant
        writing.write(Artifact("coreml", "none"), native, contract)


if __name__ == "__main__":
    run(main)
