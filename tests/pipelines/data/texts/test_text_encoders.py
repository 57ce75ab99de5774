import numpy as np
import pytest

from pipelines.data.texts.lexicon import FEATURE_NAMES, signals
from pipelines.data.texts.text_encoders import (
    LexiconEncoder,
    WordsEncoder,
    files_of,
    fingerprint,
    make,
    numbers_of_words,
)
from pipelines.data.texts.words import hashed
from registry.errors import ParameterError

TEXTS = ["profit rose", "shares plunge after impairment", ""]


def test_words_are_the_lexicons_columns_and_hashed_words():
    encoder = WordsEncoder(512)
    found = encoder.encode(TEXTS)
    np.testing.assert_array_equal(found[:, :6], signals(TEXTS))
    np.testing.assert_array_equal(found[:, 6:], hashed(TEXTS, 512))
    assert len(encoder.feature_names) == 518


def test_coverage_is_the_share_of_different_words_that_training_had():
    encoder = WordsEncoder(512, numbers_of_words(["profit rose 3 percent"]))
    found = encoder.coverage(["profit, profit fell", "rose", "xyzzy", ""])
    np.testing.assert_allclose(found, [0.5, 1, 0, 0])
    assert np.isnan(WordsEncoder(512).coverage(["profit"])).all()
    assert LexiconEncoder().coverage(["profit rose again here"]).tolist() == [0.5]


def test_an_encoder_is_made_again_from_contract_and_files():
    known = numbers_of_words(TEXTS)
    again = make("words", 518, {"words.bin": known.tobytes()})
    assert fingerprint(again) == fingerprint(WordsEncoder(512))
    np.testing.assert_array_equal(again.coverage(["profit xyzzy"]), [0.5])
    assert make("lexicon", 6, {}).feature_names == FEATURE_NAMES
    assert (files_of("lexicon"), files_of("words")) == ((), ("words.bin",))


def test_fingerprints_tell_encoders_apart():
    found = {fingerprint(e) for e in (LexiconEncoder(), WordsEncoder(512), WordsEncoder(1024))}
    assert len(found) == 3


@pytest.mark.parametrize("name", ["tokens", "letters"])
def test_an_encoder_that_cannot_be_made_is_refused(name):
    with pytest.raises(ParameterError, match=f"feature_set='{name}'"):
        make(name, 16, {})
