"""The reference backend: a package is what the contract says, and batches are cut into chunks."""

from types import SimpleNamespace

import numpy as np
import pytest

from registry.backends.coreml_reference import BACKEND
from registry.contract import TensorSpec
from registry.errors import ShapeError, UnreadableArtifactError, UnsupportedModelError
from registry.flavors import Artifact
from tests.registry.flavors.coreml_reference.building import call, model, package, program

STEPS = ("FLOAT32", (None, 3, 2))
SUM = call(
    "reduce_sum",
    {"scores": ("FLOAT32", (None, 2))},
    x="@features",
    axes=np.int32([1]),
    keep_dims=np.bool_(False),
)
PACKAGE = package(model(program([SUM], given=STEPS), given=STEPS))
HALF = Artifact("coreml", "fp16")
ROWS = np.random.default_rng(0).normal(size=(1100, 3, 2)).astype(np.float32)


def contract(row_shape=(3, 2), n_scores=2, name="features"):
    return SimpleNamespace(
        inputs=TensorSpec(name, "float32", (None, *row_shape)),
        outputs=TensorSpec("scores", "float32", (None, n_scores)),
        native_format="torch-export",
    )


def files(artifact=HALF, members=PACKAGE):
    return {f"{artifact.path('.mlpackage')}/{name}": data for name, data in members.items()}


@pytest.mark.parametrize("artifact", [HALF, Artifact("coreml")])
def test_scores_are_the_packages_for_any_number_of_rows(artifact):
    predictor = BACKEND.load(artifact, files(artifact), contract())
    for n in (0, 1, 512, 513, 1100):
        found = predictor(ROWS[:n])
        assert found.shape == (n, 2)
        np.testing.assert_allclose(found, ROWS[:n].sum(axis=1), rtol=1e-5, atol=1e-6)


def test_one_row_alone_scores_as_it_does_in_a_batch_and_input_is_not_changed():
    predictor = BACKEND.load(HALF, files(), contract())
    rows = ROWS[:40].copy()
    rows.flags.writeable = False
    np.testing.assert_array_equal(predictor(rows)[7:8], predictor(rows[7:8]))
    np.testing.assert_array_equal(predictor(rows[::2]), predictor(rows)[::2])


@pytest.mark.parametrize("wrong", [ROWS[..., :1], ROWS[0], ROWS.astype(np.float64), ROWS[None]])
def test_another_shape_or_type_is_refused(wrong):
    predictor = BACKEND.load(HALF, files(), contract())
    with pytest.raises(ShapeError, match=r"features: expected float32 of shape \(n, 3, 2\)"):
        predictor(wrong)


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        (
            contract(row_shape=(4, 2)),
            r"\(n, 3, 2\), the contract says features FLOAT32 \(n, 4, 2\)",
        ),
        (contract(row_shape=(2,)), "the contract says"),
        (
            contract(n_scores=1),
            r"has scores FLOAT32 \(n, 2\), the contract says scores FLOAT32 \(n, 1",
        ),
        (contract(name="rows"), "has features .* the contract says rows"),
    ],
    ids=range(4),
)
def test_a_package_that_is_not_the_contracts_is_refused(other, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        BACKEND.load(HALF, files(), other)


def test_files_outside_of_the_artifacts_folder_are_refused():
    with pytest.raises(
        UnreadableArtifactError, match="lies outside of coreml/fp16/model.mlpackage"
    ):
        BACKEND.load(HALF, files(Artifact("coreml", "int8")), contract())


def test_another_flavor_is_refused():
    with pytest.raises(UnsupportedModelError, match="evaluates: coreml"):
        BACKEND.load(Artifact("onnx"), {"onnx/model.onnx": b""}, contract())


def test_it_is_always_here_and_never_serves():
    assert BACKEND.unavailable_reason() is None
    assert BACKEND.is_reference
