import pytest

from registry.golden_answers import GoldenAnswers, changes, said_of, shown

ANSWER = {
    "signal": "BUY",
    "confidence": 0.61,
    "variance": 1e-8,
    "interval": {"lower": 99.0, "upper": 101.0},
    "failed_gates": [],
    "same_day": False,
    "threshold": None,
}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"signal": "HOLD"}, "signal"),
        ({"confidence": 0.61 * (1 + 2e-6)}, "confidence"),
        ({"variance": 1.01e-8}, "variance"),
        ({"interval": {"lower": 99.0, "upper": 101.1}}, "interval.upper"),
        ({"interval": None}, "interval"),
        ({"failed_gates": ["edge.dsr"]}, "failed_gates"),
        ({"same_day": 0}, "same_day"),
        ({"threshold": 0.0}, "threshold"),
    ],
)
def test_a_changed_field_is_named_by_its_path(changed, field):
    (found,) = changes([{}, ANSWER], [{}, ANSWER | changed])
    assert (found.answer, found.field) == (1, field)


def test_a_field_that_is_gone_is_a_change_and_a_new_one_is_none():
    without = {name: value for name, value in ANSWER.items() if name != "confidence"}
    assert changes([without], [ANSWER]) == ()
    (found,) = changes([ANSWER], [without])
    assert (found.field, found.old, found.new) == ("confidence", 0.61, None)


def test_rounding_of_another_processor_is_no_change():
    rounded = ANSWER | {"confidence": 0.61 * (1 + 1e-12), "variance": 1e-8 * (1 - 1e-12)}
    assert changes([ANSWER | {"beta": 0.0}], [rounded | {"beta": 3e-16}]) == ()


def test_another_number_of_answers_is_a_change():
    (found,) = changes([ANSWER], [ANSWER, ANSWER])
    assert (found.old, found.new) == (1, 2)


def test_what_is_said_counts_answers_and_shows_the_first_changes():
    new = ANSWER | {"signal": "SELL", "confidence": 0.7}
    golden = GoldenAnswers((ANSWER, ANSWER), (ANSWER, new))
    assert said_of(golden) == "this code changes 1 of 2 golden answers"
    assert shown(golden.changes) == (
        "signal of answer 1 was 'BUY', is 'SELL'; confidence of answer 1 was 0.61, is 0.7"
    )
    assert said_of(GoldenAnswers((ANSWER,), (ANSWER,))) == "as recorded when the version was made"
    assert said_of(None).startswith("registered without golden answers")
