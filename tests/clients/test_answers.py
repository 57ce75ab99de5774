"""The client's types: they are the server's, and they take what it answers."""

import pickle

import pytest
from pydantic import ValidationError

from nautilus_ml_client import Answer, Predictions, answers
from nautilus_ml_client.answers import ANSWER_TYPES, SentimentAnswer, TradingSignalsAnswer
from pipelines.templates import TEMPLATES
from serving import client_answers, examples


@pytest.fixture(scope="module")
def document():
    return client_answers.document()


def test_the_file_is_what_openapi_says(document):
    written = client_answers.source(document)
    assert client_answers.FILE.read_text() == written, "run python -m serving.client_answers"


def test_every_template_has_its_types():
    assert list(ANSWER_TYPES) == list(TEMPLATES)


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_the_whole_answer_has_the_fields_of_every_template(document, template):
    name = client_answers.response_of(template)
    schema = document["components"]["schemas"][name]
    own = {n for n, field in Predictions.model_fields.items() if field.is_required()}
    assert own <= set(schema["properties"]) <= set(Predictions.model_fields)
    assert own <= set(schema["required"])


def test_two_classes_of_one_name_are_refused(document):
    schemas = document["components"]["schemas"]
    twice = {"here__Gate": schemas["Gate"]}
    route = {"content": {"application/json": {"schema": {"$ref": "#/x/here__Gate"}}}}
    told = {
        "components": {"schemas": schemas | twice},
        "paths": {"/x": {"get": {"responses": {"200": route}}}},
    }
    with pytest.raises(ValueError, match="one name: here__Gate"):
        client_answers.source(told)


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "format": "date-time"}, "datetime"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "float | None"),
        ({"type": "string", "enum": ["a", "b"]}, "Literal['a', 'b'] | str"),
        ({"type": "boolean", "const": True}, "Literal[True]"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Gate"}}, "list[Gate]"),
        ({"type": "array", "prefixItems": [{"type": "integer"}] * 2}, "tuple[int, int]"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "dict[str, str]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({}, "Any"),
    ],
)
def test_a_schema_is_written_as_a_type(schema, written):
    assert client_answers.annotation(schema) == written


def test_a_name_that_python_keeps_for_itself_is_read_by_its_own():
    facts = {
        "score": 0.1,
        "class": "positive",
        "confidence": 0.9,
        "probabilities": {},
        "ece": None,
        "known_words": 3,
        "coverage": 0.5,
        "abstained": None,
        "as_of": None,
        "history_end": None,
        "price_basis": None,
    }
    read = SentimentAnswer.model_validate(facts)
    assert (read.class_, read["class"], read["score"]) == ("positive", "positive", 0.1)
    assert SentimentAnswer.model_validate(facts | {"abstained": "unheard_of"}).abstained


def test_what_a_newer_server_adds_is_kept():
    read = answers.Deployed.model_validate(
        {"model_id": "a", "alias": "b", "version": 1, "generation": 2, "added": 3}
    )
    assert read["added"] == 3
    with pytest.raises(KeyError, match="Deployed has no field 'absent'"):
        read["absent"]


def test_an_answer_does_not_change():
    found = answers.Deleted.model_validate({"model_id": "a", "version": 1})
    with pytest.raises(ValidationError, match="frozen"):
        found.version = 2


def test_an_answer_can_be_pickled():
    whole = Predictions.model_validate(examples.ANSWER)
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_the_class_of_a_prediction_is_checked():
    typed = {"AAPL": TradingSignalsAnswer.model_validate(examples.ANSWER["predictions"]["AAPL"])}
    whole = Predictions.model_validate(examples.ANSWER).model_copy(update={"predictions": typed})
    assert whole.of(TradingSignalsAnswer)["AAPL"].signal == "HOLD"
    assert whole.of(Answer) is whole
    with pytest.raises(Exception, match="answers with TradingSignalsAnswer, not SentimentAnswer"):
        whole.of(SentimentAnswer)
