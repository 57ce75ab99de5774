import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from pipelines.data.texts.text_encoders import make as make_encoder
from pipelines.data.texts.words import hashed
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.checks import data_checks
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import INPUT_KINDS
from pipelines.recipes.inputs.texts import sample
from pipelines.templates.answer_fields import as_json
from registry.errors import ParameterError, TableError

SAMPLE = SourceParameters(source="sample")


def read(source, architecture="xgboost", **options):
    wanted = RecipeParameters(
        "sentiment", architecture, options=json.dumps({"width": 512} | options)
    )
    return read_dataset(source, wanted, None)


@pytest.mark.parametrize("architecture", ["lexicon", "logistic"])
def test_the_sample_works_out_of_the_box_and_says_what_it_is(make, architecture):
    found = make(SAMPLE, template="sentiment", architecture=architecture, options='{"width": 512}')
    assert found.evaluation.gates[0].passed
    assert found.evaluation.metrics["log_loss"] < found.evaluation.metrics["log_loss_prior"] - 0.2
    assert "not how good a model is on your texts" in found.dataset.data.note
    assert data_checks(found.dataset, INPUT_KINDS.get("texts")).passed
    (negative,) = _answers(found, ["shares plunge after impairment"])
    assert negative["class"] == "negative" and negative["score"] < -0.2
    (unknown,) = _answers(found, ["xyzzy qwfp"])
    assert (unknown["abstained"], unknown["score"], unknown["confidence"]) == (
        "no_known_words",
        0.0,
        None,
    )


def _answers(found, texts):
    kind = INPUT_KINDS.get("texts")
    layout = kind.describe(found.recipe, found.dataset.data, found.dataset.label_spec)
    files = kind.files(found.recipe, found.dataset)
    encoder = make_encoder(layout.feature_set, len(layout.feature_names), files)
    features, known = encoder.encode(texts), {"coverage": encoder.coverage(texts)}
    scores = found.recipe.fit(found.dataset.rows).predict(features)

    contract = SimpleNamespace(feature_set=layout.feature_set)
    answers = found.recipe.template.decode(scores, features, known, found.decoder, contract)
    return [as_json(answer) for answer in answers]


def test_words_follow_the_lexicons_columns():
    _, dataset = read(SAMPLE)
    texts = dataset.data.frame["text"].to_list()
    np.testing.assert_array_equal(dataset.rows.X[:, 6:], hashed(texts, 512))
    assert dataset.rows.X.shape == (len(texts), 6 + 512)


def test_serving_encodes_as_training_did():
    recipe, dataset = read(SAMPLE)
    assert [row.value for row in INPUT_KINDS.get("texts").checks(recipe, dataset)] == [0, 0]
    layout = INPUT_KINDS.get("texts").describe(recipe, dataset.data, dataset.label_spec)
    assert (layout.feature_set, layout.min_history) == ("words", 1)
    assert len(layout.feature_names) == dataset.rows.X.shape[1]


def test_labels_may_be_scores_and_rows_without_label_or_text_are_left_out(write):
    texts, labels = sample().frame["text"], sample().frame["label"]
    score = labels.replace_strict({"negative": "-0.8", "neutral": "0.1", "positive": "1"})
    frame = pl.DataFrame({"headline": texts, "score": score})
    frame[0, "score"], frame[1, "headline"] = None, ""
    _, dataset = read(write(frame), text="headline", label="score")
    names = np.array(["negative", "neutral", "positive"])[dataset.rows.y.astype(int)]
    assert names.tolist() == labels.to_list()[2:]
    with pytest.raises(TableError, match="class 'negative' has 0 texts"):
        read(write(frame), text="headline", label="score", neutral_band=0.9)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (
            sample().frame.drop("timestamp").with_columns(label=pl.lit("great")),
            "label 'label' is 'great'",
        ),
        (sample().frame.drop("timestamp").with_columns(label=pl.lit("3")), "label 'label' is '3'"),
        (
            sample().frame.drop("timestamp").with_columns(label=pl.lit("neutral")),
            "class 'negative' has 0 texts",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused(write, frame, problem):
    with pytest.raises(TableError, match=problem):
        read(write(frame))


def test_a_column_that_is_not_there_is_refused_by_option(write):
    with pytest.raises(ParameterError, match="text='body': expected a column"):
        read(write(sample().frame.drop("timestamp")), text="body")
    with pytest.raises(ParameterError, match="source='synthetic'"):
        read(SourceParameters(source="synthetic"))
    with pytest.raises(ParameterError, match="feature_set='tokens': expected words or lexicon"):
        wanted = RecipeParameters("sentiment", "xgboost", feature_set="tokens")
        read_dataset(SAMPLE, wanted, None)
