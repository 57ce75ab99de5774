from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.data.texts.text_encoders import WordsEncoder, numbers_of_words
from pipelines.recipes.inputs.texts import MAX_CHARACTERS
from registry.errors import ParameterError, ShapeError
from serving.forms import gather
from serving.schemas import PredictRequest

ENCODER = WordsEncoder(256, numbers_of_words(["profit rose"]))


@pytest.fixture
def version():
    template = SimpleNamespace(inputs="texts")
    return SimpleNamespace(model_id="sentiment", number=1, template=template, encoder=ENCODER)


def ask(version, texts):
    return gather(PredictRequest(model="sentiment", texts=texts), version, None, 10)


def test_texts_are_encoded_and_keyed_by_number_or_id(version):
    found = ask(version, ["profit rose", {"id": "n-17", "text": "shares plunge"}])
    assert found.keys == ("0", "n-17")
    np.testing.assert_array_equal(found.X, ENCODER.encode(["profit rose", "shares plunge"]))
    np.testing.assert_array_equal(found.context["coverage"], [1.0, 0.0])
    assert found.form == "texts"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (7, "expected a text"),
        (None, "expected a text"),
        (" \n", "at least one letter"),
        ("x" * (MAX_CHARACTERS + 1), "at most 20000 characters"),
    ],
)
def test_a_bad_text_is_its_own_error(version, text, problem):
    found = ask(version, ["profit rose", text])
    assert found.keys == ("0",)
    assert problem in str(found.errors["1"])


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], ShapeError),
        (["a"] * 11, ShapeError),
        ([{"text": "a"}], ParameterError),
        ([{"id": 3, "text": "a"}], ParameterError),
        ([{"id": "a", "text": "a"}, {"id": "a", "text": "b"}], ParameterError),
        (["a", {"id": "0", "text": "b"}], ParameterError),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_whole(version, texts, error):
    with pytest.raises(error):
        ask(version, texts)


def test_a_sentiment_model_reads_nothing_but_texts(version):
    with pytest.raises(ParameterError, match="reads nothing else"):
        gather(PredictRequest(model="sentiment", rows=[[1]]), version, None, 10)
    with pytest.raises(ValidationError, match="texts cannot be combined"):
        PredictRequest(model="sentiment", rows=[[1]], texts=["a"])
