"""Every flavor holds every architecture and agrees with the native model."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.method.agreement import difference
from registry.backends import BACKENDS
from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS, Artifact, NativeModel, parity

NAMES = [name for name in FLAVORS if "coremltools" not in FLAVORS.get(name).libraries]
"""Core ML packages are put to the same in test_coreml.py, by the one process that imports it."""
ONE_PER_FORMAT = pytest.mark.usefixtures("one_per_format")


def files_of(name, written):
    """The files of an artifact; skips the test where the flavor cannot hold the model."""
    if Artifact(name) not in written:
        pytest.skip("the flavor cannot hold the model")
    return written[Artifact(name)]


def load(name, written, contract):
    return BACKENDS.get("cpu").load(Artifact(name), files_of(name, written), contract)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_estimator_within_its_limit(problem, estimator, written, contract, name):
    predictor = load(name, written, contract)
    found = difference(estimator.predict(problem.test.X), predictor(problem.test.X))
    assert found <= (0.0 if name == "native" else parity.limit(Artifact(name)))


@pytest.mark.parametrize("name", NAMES)
def test_survives_a_crash_day_and_the_ends_of_float32(problem, estimator, written, contract, name):
    X = problem.test.X[:64].copy()
    X[:16] *= 1e3
    X[16:32] = np.float32(3e38)
    X[32:48] = np.float32(-3e38)
    X[48:] = np.float32(1e-45)
    scores = load(name, written, contract)(X)
    assert np.isfinite(scores).all()
    assert difference(estimator.predict(X), scores) <= parity.limit(Artifact(name), parity.EXTREMES)


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_score_alike_in_every_flavor(
    problem, native, estimator, written, contract, name
):
    if native.format == "torch-export" or problem.loss == "scenarios":
        pytest.skip("it takes no missing values")
    X = problem.test.X[:64].copy()
    X[::2, ..., 1] = np.nan
    X[::8] = np.nan
    scores = load(name, written, contract)(X)
    assert np.isfinite(scores).all()
    assert difference(estimator.predict(X), scores) <= parity.limit(Artifact(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_native_model_gives_the_same_bytes(native, written, contract, name):
    files = files_of(name, written)
    assert FLAVORS.get(name).write(native, contract) == files


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_the_file_tells_where_or_by_which_lines_it_was_made(written, name):
    (payload,) = files_of(name, written).values()
    content, parts = io.BytesIO(payload), [payload]
    if zipfile.is_zipfile(content):
        archive = zipfile.ZipFile(content)
        parts += [archive.read(member) for member in archive.namelist()]
        for member in archive.namelist():
            if "/code/__torch__/torch/" in member:  # TorchScript's text of a class is CLASS.py
                parts[0] = parts[0].replace(member.encode(), b"")
    root = str(Path(__file__).parents[2]).encode()
    told = (root, b"pipelines/", b".py", b"site-packages")
    assert [piece for piece in told if any(piece in part for part in parts)] == []


@ONE_PER_FORMAT
@pytest.mark.parametrize("name", NAMES)
def test_files_lie_where_the_artifact_is_found(written, name):
    files = files_of(name, written)
    assert {Artifact.of(path) for path in files} == {Artifact(name)}


@ONE_PER_FORMAT
@pytest.mark.parametrize("name", NAMES)
def test_refuses_a_format_it_does_not_know(contract, name):
    with pytest.raises(UnsupportedModelError, match="pickle"):
        FLAVORS.get(name).write(NativeModel("pickle", b""), contract)


def test_every_variant_of_every_flavor_has_a_parity_limit():
    for name in FLAVORS:
        flavor = FLAVORS.get(name)
        assert {*flavor.variants, *flavor.compressions} <= set(parity.LIMITS)


def test_every_flavor_and_backend_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "flavors.md").read_text()
    assert [name for name in (*FLAVORS, *BACKENDS) if f"| `{name}` |" not in page] == []
