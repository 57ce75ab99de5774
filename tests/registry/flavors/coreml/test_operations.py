"""Array models as ML Programs: every operator, at every kind of row."""

from importlib.util import find_spec

import numpy as np
import pytest

from registry.errors import UnsupportedModelError
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.forest import Forest
from registry.flavors.arrays.scenarios import Scenarios
from registry.flavors.coreml.operations import OPERATORS, _translate
from registry.flavors.graphs import INPUT, OUTPUT, Graph
from tests.examples import make_contract
from tests.registry.flavors.coreml.small_models import ARRAYS, evaluated, f32, i64, opened, written

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]
SAME_OPERATORS = ("linear", "forest", "scenarios")
"""Their operators are those of others."""
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SAME_OPERATORS)) for name in ARRAYS]


def graph_of(model):
    graph = Graph()
    model.add_to(graph, INPUT, OUTPUT)
    return graph


def test_the_operators_are_those_that_array_models_use():
    used = {o.operator for model in ARRAYS.values() for o in graph_of(model).operations}
    assert set(OPERATORS) == used


def test_an_operator_without_a_translation_is_refused():
    graph = Graph()
    graph.add("Sin", INPUT, output=OUTPUT)
    with pytest.raises(UnsupportedModelError, match="operator 'Sin' has no translation"):
        _translate(None, graph, None)


# Numbers ---------------------------------------------------------------------------------------


def rows_of(model, n=64):
    """Ordinary rows, rows at every threshold, missing values and the ends of float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, *model.row_shape)).astype(np.float32) * 2
    ends = [3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0, 0.5, -1.0, 1.5, np.nan, np.inf, -np.inf]
    if isinstance(model, Scenarios):  # a product: what overflows and what is missing stays so
        ends = ends[2:9]
    at = np.array(ends, np.float32)
    edges = np.concatenate([at, np.nextafter(at, np.float32(9)), np.nextafter(at, np.float32(-9))])
    some = rng.choice(edges, (n, *model.row_shape))
    return np.concatenate([X, some])


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_arrays_at_every_kind_of_row(name):
    model, predict = ARRAYS[name], evaluated(written(name))
    X = rows_of(model)
    expected, found = model(X), predict(X)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("name", ["linear-of-unit-rows", "forest-of-leaves", "hmm"])
def test_a_batch_may_have_1_to_4096_rows(name):
    model, predict = ARRAYS[name], evaluated(written(name))
    X = rows_of(model, 2048)
    for n in (1, 2, 7, 4096):
        found = predict(X[:n])
        assert found.shape == (n, model.n_scores)
        np.testing.assert_allclose(found, model(X[:n]), rtol=3e-6, atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_half_precision_keeps_every_branch_and_three_digits(name):
    model, predict = ARRAYS[name], evaluated(written(name, "fp16"), "fp16")
    X = rows_of(model)
    expected, found = model(X), predict(X)
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    assert error.max() < (2e-2 if name in ("clusters", "hmm") else 2e-3)  # squares of distances


@pytest.mark.slow
def test_an_index_beyond_16_bits_leads_to_its_node():
    n = 70_000
    left, right, leaf = np.arange(n), np.arange(n), np.zeros((n, 1), np.float32)
    left[0], right[0] = n - 2, n - 1
    leaf[-2:, 0] = 0.25, 0.75
    zeros = np.zeros(n, np.int64)
    value = np.zeros(n, np.float32)
    model = Forest(1, i64(0), zeros, value, left, right, zeros, leaf, f32(0))
    contract = make_contract(1, architecture="forest", feature_names=("f0",))
    predict = opened(save_arrays(model), contract, "fp16")
    np.testing.assert_array_equal(predict(f32([-1], [1])), f32([0.25], [0.75]))
