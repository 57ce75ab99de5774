"""Core ML itself beside the interpreter and native: the same packages, on a Mac.

Not run yet: no Mac was at hand. `.github/workflows/ci.yml` runs it on a hosted one.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.architectures import ARCHITECTURES
from registry.backends import BACKENDS
from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS, FULL, Artifact, parity
from tests.conformance.problems import GIVEN, first, make_problem

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.apple,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on a Mac alone"),
]
COREML, REFERENCE = FLAVORS.get("coreml"), BACKENDS.get("coreml_reference")
N_ROWS = 32


@pytest.fixture(scope="module", params=sorted({*ARCHITECTURES} - {*GIVEN}))
def fitted(request):
    problem = make_problem(request.param, first(request.param).loss)
    estimator = problem.fit()
    return problem, estimator, estimator.native(), problem.contract(estimator.n_scores)


def predict(files, folder, rows, units):
    """Scores of Core ML for a package's files; trees take one row at a time."""
    import coremltools as ct

    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (manifest,) = folder.rglob("Manifest.json")
    model = ct.models.MLModel(str(manifest.parent), compute_units=units)
    if model.get_spec().WhichOneof("Type") == "mlProgram":
        return model.predict({"features": rows})["scores"]
    found = model.predict([{"features": row} for row in rows])
    return np.stack([np.ravel(scores["scores"]) for scores in found])


def apart(expected, found):
    return (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()


@pytest.mark.parametrize("units", ["CPU_ONLY", "CPU_AND_NE", "ALL"])
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_core_ml_scores_as_the_interpreter_and_as_native_do(fitted, tmp_path: Path, variant, units):
    import coremltools as ct

    problem, estimator, native, contract = fitted
    try:
        files = COREML.write(native, contract, variant)
    except UnsupportedModelError as exc:
        pytest.skip(exc.reason)
    rows = problem.test.X[:N_ROWS]
    scores = predict(files, tmp_path, rows, ct.ComputeUnit[units])
    interpreted = REFERENCE.load(Artifact("coreml", variant), files, contract)(rows)
    assert scores.shape == interpreted.shape
    limit = parity.limit(Artifact("coreml", variant))
    assert apart(interpreted, scores) <= limit
    if variant == FULL:
        assert apart(estimator.predict(rows), scores) <= limit


def test_core_ml_reads_the_metadata(fitted, tmp_path):
    import coremltools as ct

    _, _, native, contract = fitted
    for path, content in COREML.write(native, contract).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (manifest,) = tmp_path.rglob("Manifest.json")
    model = ct.models.MLModel(str(manifest.parent))
    assert model.author == "Nautilus ML Engine"
    assert model.user_defined_metadata["architecture"] == contract.architecture
