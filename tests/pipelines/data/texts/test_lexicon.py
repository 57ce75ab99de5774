import numpy as np
import pytest

from pipelines.data.texts.lexicon import FEATURE_NAMES, entries, inflected, read, signals


@pytest.mark.parametrize(
    "text",
    [
        "shares plunge after impairment",
        "profit fell as costs rose",
        "the company cuts its dividend",
        "it is not profitable",
        "unemployment rose sharply",
        "a second profit warning",
        "the impairment was large",
        "sales did not grow",
    ],
)
def test_bad_news_has_a_negative_tone(text):
    assert read(text).tone < -0.3


@pytest.mark.parametrize(
    "text",
    [
        "shares soar after record profit",
        "costs fell sharply",
        "the net loss narrowed",
        "guidance was raised",
        "unemployment fell",
        "results were better than expected",
        "the company denies fraud",
    ],
)
def test_good_news_has_a_positive_tone(text):
    assert read(text).tone > 0.3


@pytest.mark.parametrize(
    "text", ["the board will meet on Tuesday", "results were in line with forecasts", ""]
)
def test_plain_facts_have_no_tone(text):
    assert read(text).tone == 0


def test_a_topic_turns_a_direction_round():
    assert read("costs fell").tone == -read("costs rose").tone > 0
    assert read("profit rose").tone == -read("profit fell").tone > 0


def test_a_negation_turns_and_weakens_what_follows_it_in_its_clause():
    assert read("not good").negative == pytest.approx(0.6 * read("good").positive)
    assert read("not now, good").positive == read("good").positive


def test_sharply_strengthens_and_slightly_weakens_a_neighbour():
    plain = read("profit fell").negative
    assert read("profit fell sharply").negative == 1.5 * plain
    assert read("profit fell slightly").negative == 0.5 * plain


def test_the_longest_phrase_is_read_and_silences_its_words():
    assert read("in line with the weak market").negative == read("weak").negative
    assert read("interest rate risk").tone == 0


def test_signals_are_the_readings_in_order():
    text = "profit fell and may fall further"
    found = read(text)
    row = dict(zip(FEATURE_NAMES, signals([text])[0].tolist(), strict=True))
    assert row["tone"] == pytest.approx(found.tone)
    assert row["negative_weight"] == pytest.approx(np.log1p(found.negative))
    assert row["uncertain_share"] == pytest.approx(1 / 6)
    assert row["known_words"] == 3
    assert row["known_share"] == pytest.approx(0.5)


def test_tone_stays_inside_minus_one_and_one():
    assert -1 < read("crash " * 500).tone < -0.99


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("drop", ("drop", "drops", "dropped", "dropping")),
        ("decline", ("decline", "declines", "declined", "declining")),
        ("deny", ("deny", "denies", "denied", "denying")),
        ("crash", ("crash", "crashes", "crashed", "crashing")),
        ("expand", ("expand", "expands", "expanded", "expanding")),
    ],
)
def test_verbs_get_their_regular_endings(verb, forms):
    assert inflected(verb) == forms


def test_the_lexicon_holds_phrases_of_at_most_three_words():
    assert len(entries()) > 1000
    assert max(len(word.split()) for word in entries()) == 3
