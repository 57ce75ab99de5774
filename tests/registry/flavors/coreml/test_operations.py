"""Array models as ML Programs: every operator, at every kind of row."""

from importlib.util import find_spec

import pytest

from registry.errors import UnsupportedModelError
from registry.flavors.coreml.operations import OPERATORS, _translate
from registry.flavors.graphs import INPUT, OUTPUT, Graph
from tests.registry.flavors.coreml.small_models import ARRAYS

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]


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
