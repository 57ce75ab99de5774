"""Every architecture as Core ML packages, verified by the interpreter: what needs no Mac.

Each architecture is put to one loss: another changes its last layer or its intercept alone, which
`tests/registry/flavors/coreml/` tests. All of it runs in the one process that imports coremltools.
"""

import json

import numpy as np
import pytest

from bench.flavors import rows_of_page
from pipelines.architectures import ARCHITECTURES
from pipelines.method.agreement import difference
from registry.backends import BACKENDS
from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import FLAVORS, FULL, Artifact, parity
from tests.conformance.problems import GIVEN, first, format_names, make_problem

COREML, REFERENCE = FLAVORS.get("coreml"), BACKENDS.get("coreml_reference")
QUICK = [name for name, _ in format_names()]
NAMES = sorted({*ARCHITECTURES} - {*GIVEN})
pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(bool(COREML.unavailable_reason()), reason=str(COREML.unavailable_reason())),
]


class Made:
    """An architecture's fit and its packages, each made when it is first asked for."""

    def __init__(self, name):
        self.problem = make_problem(name, first(name).loss)
        self.estimator = self.problem.fit()
        self.native = self.estimator.native()
        self.contract = self.problem.contract(self.estimator.n_scores)
        self.is_network = self.native.format == "torch-export"
        self._packages = {}

    def package(self, variant):
        """Its files; skips the test where there cannot be such a variant."""
        if variant not in self._packages:
            try:
                self._packages[variant] = COREML.write(self.native, self.contract, variant)
            except UnsupportedModelError as exc:
                self._packages[variant] = exc.reason
        if isinstance(self._packages[variant], str):
            pytest.skip(self._packages[variant])
        return self._packages[variant]

    def load(self, variant, package=None):
        artifact = Artifact("coreml", variant)
        return REFERENCE.load(artifact, package or self.package(variant), self.contract)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES],
)
def made(request):
    return Made(request.param)


def test_scores_are_natives_within_the_limit(made):
    X = made.problem.test.X[:512]
    scores = made.load(FULL)(X)
    assert scores.shape == (512, made.contract.outputs.shape[1])
    assert difference(made.estimator.predict(X), scores) <= parity.limit(Artifact("coreml"))


def test_half_precision_scores_most_rows_within_its_limit(made):
    """Not all of them: where one is beyond, convert drops the variant."""
    X = made.problem.test.X[:512]
    scores, native = made.load("fp16")(X), made.estimator.predict(X)
    assert np.isfinite(scores).all()
    apart = (np.abs(scores - native) / np.maximum(1, np.abs(native))).max(axis=1)
    assert np.median(apart) <= parity.limit(Artifact("coreml", "fp16"))


def test_extreme_rows_score_as_natives_do(made):
    X = made.problem.test.X[:48].copy()
    X[:16] *= 1e3
    X[16:32] = np.float32(1e-45)
    X[32:] = X[32:].max(axis=0)
    limit = parity.limit(Artifact("coreml"), parity.EXTREMES, is_network=made.is_network)
    assert difference(made.estimator.predict(X), made.load(FULL)(X)) <= limit


def test_missing_values_score_as_natives_do(made):
    if made.is_network or made.problem.loss == "scenarios":
        pytest.skip("it takes no missing values")
    X = made.problem.test.X[:64].copy()
    X[::2, ..., 1] = np.nan
    X[::8] = np.nan
    limit = parity.limit(Artifact("coreml"))
    assert difference(made.estimator.predict(X), made.load(FULL)(X)) <= limit


@pytest.mark.parametrize("size", [1, 2, 7, 2048])
def test_every_batch_size_gives_the_scores_of_the_whole(made, size):
    X = np.ascontiguousarray(np.resize(made.problem.test.X, (size, *made.problem.test.X.shape[1:])))
    assert difference(made.estimator.predict(X), made.load(FULL)(X)) <= 1e-5


def test_the_same_native_model_gives_the_same_bytes_without_a_path_of_ours(made):
    first_time = made.package(FULL)
    assert COREML.write(made.native, made.contract) == first_time
    assert not any(b"site-packages" in c or b"/registry/" in c for c in first_time.values())
    assert {Artifact.of(path) for path in first_time} == {Artifact("coreml")}


def test_another_models_weights_are_refused(made):
    package = dict(made.package(FULL))
    (path,) = [p for p in package if p.endswith("Manifest.json")]
    manifest = json.loads(package[path])
    manifest["itemInfoEntries"]["0"] = {"path": "com.apple.CoreML/weights", "name": "weights"}
    package[path] = json.dumps(manifest).encode()
    with pytest.raises(UnreadableArtifactError, match="cannot be read as flavor 'coreml'"):
        made.load(FULL, package)


def test_the_page_says_which_architectures_have_a_package(made):
    name = made.problem.architecture
    said = rows_of_page()[name, "coreml.fp32"]
    try:
        made.package(FULL)
    except pytest.skip.Exception as exc:
        assert said == f"not written: {exc}"
    else:
        assert said == "holds"
