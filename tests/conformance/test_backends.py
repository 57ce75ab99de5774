"""Every backend keeps the promises of `registry.backends` for every flavor it names."""

import numpy as np
import pytest

from pipelines.method.agreement import difference
from registry.backends import BACKENDS, measure
from registry.errors import ArtifactError, ShapeError, UnsupportedModelError
from registry.flavors import FLAVORS, Artifact

pytestmark = pytest.mark.integration

PAIRS = [
    (backend, flavor)
    for backend in BACKENDS
    for flavor in BACKENDS.get(backend).flavors
    if "coremltools" not in FLAVORS.get(flavor).libraries  # test_coreml.py puts it to the same
]
ONE_PER_FORMAT = pytest.mark.usefixtures("one_per_format")


@pytest.fixture(params=PAIRS, ids="-".join, scope="session")
def loaded(request, written, contract):
    backend, flavor = request.param
    if (reason := BACKENDS.get(backend).unavailable_reason()) is not None:
        pytest.skip(reason)
    artifact = Artifact(flavor)
    if artifact not in written:
        pytest.skip("the flavor cannot hold the model")
    predictor = BACKENDS.get(backend).load(artifact, written[artifact], contract)
    return predictor, artifact, backend


def test_one_row_alone_scores_as_it_does_in_a_batch(problem, loaded):
    predictor, _, _ = loaded
    rows = problem.test.X[:600]  # more than one chunk
    alone = np.concatenate([predictor(rows[i : i + 1]) for i in range(0, 600, 60)])
    assert difference(predictor(rows)[::60], alone) <= 1e-6


def test_input_is_not_changed_and_may_be_read_only_or_strided(problem, loaded):
    predictor, _, _ = loaded
    rows = problem.test.X[:40].copy()
    rows.flags.writeable = False
    first = predictor(rows)
    np.testing.assert_array_equal(rows, problem.test.X[:40])
    assert difference(first[::2], predictor(rows[::2])) <= 1e-6


def test_no_rows_give_no_scores(problem, loaded, estimator):
    predictor, _, _ = loaded
    assert predictor(problem.test.X[:0]).shape == (0, estimator.n_scores)


@ONE_PER_FORMAT
def test_another_shape_or_dtype_is_refused(problem, loaded):
    predictor, _, _ = loaded
    rows = problem.test.X[:3]
    for wrong in (rows[..., :-1], rows[0], rows.astype(np.float64), rows[None]):
        with pytest.raises(ShapeError, match="features: expected float32 of shape"):
            predictor(wrong)


@ONE_PER_FORMAT
def test_latency_is_measured_at_every_batch_size(problem, loaded):
    predictor, artifact, backend = loaded
    curve = measure(predictor, artifact, backend, problem.test.X[:2], (1, 8))
    assert curve.batch_sizes == (1, 8)
    assert min(curve.latency_ms) > 0


@ONE_PER_FORMAT
@pytest.mark.parametrize(("backend", "flavor"), PAIRS)
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut"])
def test_damaged_bytes_are_one_clear_line(written, contract, backend, flavor, damage):
    artifact = Artifact(flavor)
    if artifact not in written:
        pytest.skip("the flavor cannot hold the model")
    ((path, payload),) = written[artifact].items()
    broken = {"empty": b"", "garbage": b"{Lgarbage" * 9, "cut": payload[: len(payload) // 2]}
    with pytest.raises(ArtifactError, match=f"cannot be read as flavor '{flavor}'") as caught:
        BACKENDS.get(backend).load(artifact, {path: broken[damage]}, contract)
    assert "\n" not in str(caught.value)


@ONE_PER_FORMAT
@pytest.mark.parametrize("backend", tuple(BACKENDS))
def test_an_unknown_flavor_is_refused(contract, backend):
    with pytest.raises(UnsupportedModelError, match="no_such"):
        BACKENDS.get(backend).load(Artifact("no_such"), {"no_such/model.x": b""}, contract)
