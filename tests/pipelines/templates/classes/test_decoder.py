"""The class decoder: no answer is surer than the rows of the fit allow."""

import numpy as np
import pytest

from pipelines.method.calibration import softmax
from pipelines.method.rows import OutOfFold
from pipelines.templates.classes.decoder import calibrated, fit_class_decoder
from registry.decoder import Decoder
from tests.examples import make_labelled_rows


def decoder_of(n):
    rows = make_labelled_rows(n, y=np.arange(n) % 2.0)
    none = OutOfFold(rows.take(np.zeros(n, bool)), np.zeros((0, 2), np.float32), np.zeros(0, int))
    return fit_class_decoder(none, rows, 2)


@pytest.mark.parametrize("n", [20, 2000])
def test_the_surest_answer_is_that_of_half_a_row_of_each_class(n):
    sure = np.array([[1000.0, -1000.0]], dtype=np.float32)
    found = calibrated(sure, decoder_of(n))
    weight = 1 / (n + 1)
    assert found[0] == pytest.approx([1 - weight / 2, weight / 2])


def test_a_decoder_of_an_earlier_release_answers_as_it_did():
    scores = np.array([[2.0, -1.0]], dtype=np.float32)
    decoder = decoder_of(20)
    before = Decoder(decoder.facts, {"prior": decoder.arrays["prior"]})
    assert np.array_equal(calibrated(scores, before), softmax(scores.astype(np.float64)))
