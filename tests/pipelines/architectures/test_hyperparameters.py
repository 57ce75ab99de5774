import pytest

from pipelines.architectures.hyperparameters import Choice, Number, Switch, Text, defaults, resolve
from registry.errors import ParameterError

SPACE = {
    "depth": Number(4, 1, 16, is_integer=True),
    "rate": Number(0.1, 0.0),
    "method": Choice("hist", ("hist", "exact")),
}


def test_given_values_replace_defaults_and_resolving_again_changes_nothing():
    chosen = resolve(SPACE, {"depth": 6})
    assert chosen == {"depth": 6, "rate": 0.1, "method": "hist"}
    assert resolve(SPACE, chosen) == chosen
    assert resolve(SPACE, {}) == defaults(SPACE)


def test_both_ends_of_a_range_are_allowed():
    assert resolve(SPACE, {"depth": 16, "rate": 0})["depth"] == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depht": 6}, "depht=6: expected one of the parameters depth, rate, method"),
        ({"depth": 0}, r"depth=0: expected an integer in \[1, 16\]"),
        ({"depth": 4.0}, "depth=4.0: expected an integer"),
        ({"depth": True}, "depth=True: expected an integer"),
        ({"rate": "0.1"}, "rate='0.1': expected a number of at least 0"),
        ({"rate": float("nan")}, "rate=nan: expected a number"),
        ({"rate": float("inf")}, "rate=inf: expected a number"),
        ({"method": ["hist"]}, r"method=\['hist'\]: expected one of hist, exact"),
    ],
)
def test_what_cannot_be_used_is_named(given, message):
    with pytest.raises(ParameterError, match=message):
        resolve(SPACE, given)


def test_a_text_parameter_takes_text_only():
    assert resolve({"target": Text()}, {"target": "y"}) == {"target": "y"}
    assert resolve({"target": Text("label")}, {}) == {"target": "label"}
    with pytest.raises(ParameterError, match="target=3: expected a text"):
        resolve({"target": Text()}, {"target": 3})


@pytest.mark.parametrize("value", [1, 0, "true", None])
def test_a_switch_is_on_or_off_and_nothing_else(value):
    space = {"meta": Switch(False)}
    assert resolve(space, {"meta": True}) == {"meta": True}
    with pytest.raises(ParameterError, match="true or false"):
        resolve(space, {"meta": value})
