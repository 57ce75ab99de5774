"""Every flavor holds every architecture and agrees with the native model."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.method.agreement import difference
from registry.backends import BACKENDS
from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS, NativeModel, parity

ONE_PER_FORMAT = pytest.mark.usefixtures("one_per_format")


@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_agrees_with_the_estimator_within_its_limit(problem, estimator, written, contract, name):
    predictor = BACKENDS.get("cpu").load(name, written[name], contract)
    found = difference(estimator.predict(problem.test.X), predictor(problem.test.X))
    assert found <= parity.LIMITS[name]
    assert found <= 1e-5  # what is measured; the limit leaves room for larger models


@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_survives_a_crash_day_and_the_ends_of_float32(problem, estimator, written, contract, name):
    X = problem.test.X[:64].copy()
    X[:16] *= 1e3
    X[16:32] = np.float32(3e38)
    X[32:48] = np.float32(-3e38)
    X[48:] = np.float32(1e-45)
    predictor = BACKENDS.get("cpu").load(name, written[name], contract)
    scores = predictor(X)
    assert np.isfinite(scores).all()
    assert difference(estimator.predict(X), scores) <= parity.LIMITS[name]


@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_missing_values_score_alike_in_every_flavor(
    problem, native, estimator, written, contract, name
):
    if native.format == "torch-export" or problem.loss == "scenarios":
        pytest.skip("it takes no missing values")
    X = problem.test.X[:64].copy()
    X[::2, ..., 1] = np.nan
    X[::8] = np.nan
    scores = BACKENDS.get("cpu").load(name, written[name], contract)(X)
    assert np.isfinite(scores).all()
    assert difference(estimator.predict(X), scores) <= parity.LIMITS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_the_same_native_model_gives_the_same_bytes(native, written, contract, name):
    assert FLAVORS.get(name).write(native, contract) == written[name]


@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_nothing_in_the_file_tells_where_or_by_which_lines_it_was_made(written, name):
    content = io.BytesIO(written[name])
    parts = [content.getvalue()]
    if zipfile.is_zipfile(content):
        archive = zipfile.ZipFile(content)
        parts += [archive.read(member) for member in archive.namelist()]
    root = str(Path(__file__).parents[2]).encode()
    assert not any(root in part or b"pipelines/" in part or b".py" in part for part in parts)


@ONE_PER_FORMAT
@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_file_lies_in_a_folder_of_the_flavors_name(native, name):
    path = FLAVORS.get(name).file_name(native.format)
    assert path.startswith(f"{name}/model.")


@ONE_PER_FORMAT
@pytest.mark.parametrize("name", tuple(FLAVORS))
def test_refuses_a_format_it_does_not_know(contract, name):
    with pytest.raises(UnsupportedModelError, match=r"pickle.*known formats: arrays, catboost-cbm"):
        FLAVORS.get(name).write(NativeModel("pickle", b""), contract)


def test_every_flavor_has_a_parity_limit():
    assert set(parity.LIMITS) == set(FLAVORS)


def test_every_flavor_and_backend_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "flavors.md").read_text()
    assert [name for name in (*FLAVORS, *BACKENDS) if f"| `{name}` |" not in page] == []
