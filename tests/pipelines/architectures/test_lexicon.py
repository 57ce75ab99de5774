import numpy as np
import pytest

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.lexicon import LEXICON
from pipelines.data.texts.lexicon import signals
from registry.errors import FitError, ParameterError, ShapeError
from registry.flavors.arrays import open_arrays

CLASSES = Objective("softmax", 3)
X = signals(["shares plunge after impairment", "the board will meet", "record profit"])


def fit(X=X, objective=CLASSES, **parameters):
    rows = TrainingRows(X, np.zeros(len(X)), np.ones(len(X)))
    return LEXICON.fit(rows, objective, parameters, 0)


def test_logits_are_the_tone_and_the_threshold():
    tone = X[:, 0]
    expected = np.column_stack((-4 * tone, np.ones(3), 4 * tone))
    np.testing.assert_allclose(fit().predict(X), expected, atol=1e-6)
    assert fit().predict(X).argmax(axis=1).tolist() == [0, 1, 2]
    sharper = fit(sharpness=8.0, neutral=0.5).predict(X)
    np.testing.assert_allclose(sharper[:, 2], 8 * tone, atol=1e-6)
    np.testing.assert_allclose(sharper[:, 1], 0.5)


def test_only_the_tone_matters_and_the_model_is_a_matrix():
    estimator = fit()
    assert estimator.importance(X).tolist() == [1, 0, 0, 0, 0, 0]
    again = open_arrays(estimator.native().payload)
    np.testing.assert_array_equal(again(X), estimator.predict(X))


def test_labels_do_not_change_it():
    rows = TrainingRows(X, np.array([2.0, 0, 1]), np.ones(3))
    other = LEXICON.fit(rows, CLASSES, {}, 9).predict(X)
    np.testing.assert_array_equal(other, fit().predict(X))


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ShapeError, match=r"\(n, 6\)"):
        fit(np.zeros((2, 5), np.float32))
    with pytest.raises(FitError, match="negative, neutral and positive only"):
        fit(objective=Objective("softmax", 2))
    with pytest.raises(ParameterError, match="sharpness=0"):
        fit(sharpness=0)
