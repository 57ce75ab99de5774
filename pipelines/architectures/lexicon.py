"""The finance lexicon as a model: three logits from a text's tone, nothing fitted.

negative = -s tone, neutral = n, positive = s tone; with the defaults a text is neutral while
|tone| < 1/4. It serves while nobody has labelled anything yet, and it is the rival that a trained
model should beat. The model is a matrix, so every flavor of linear models carries it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
    check_rows,
)
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.spaces import SPACES
from pipelines.data.texts.lexicon import FEATURE_NAMES
from registry.contract import Json
from registry.errors import FitError, ShapeError
from registry.flavors import NativeModel
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.linear import Linear
from registry.flavors.arrays.preprocessing import Preprocessing

N_FEATURES, N_SCORES = len(FEATURE_NAMES), 3
TONE = FEATURE_NAMES.index("tone")
LARGEST = np.float32(1e6)
"""Counts are cut here; no text is that long."""


class LexiconEstimator(Estimator):
    """Logits (n, 3) of the lexicon's columns (n, 6): negative, neutral, positive."""

    n_scores = N_SCORES

    def __init__(self, model: Linear) -> None:
        self._model = model

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits."""
        return self._model(X)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return 1 for the tone and 0 for the rest, which the score does not use."""
        share = np.zeros(N_FEATURES)
        share[TONE] = 1.0
        return share

    def native(self) -> NativeModel:
        """Return the matrix."""
        return save_arrays(self._model)


class Lexicon(Architecture):
    """The architecture; it gives the same model for all rows."""

    name = "lexicon"
    native_format = "arrays"
    default_window = 1
    objectives: tuple[Loss, ...] = ("softmax",)
    text_encoder = "lexicon"

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Return the same model whatever the rows hold.

        Raises:
            ParameterError: an unknown parameter or a value of the wrong kind.
            ShapeError: other columns than the lexicon's.
            FitError: another objective than three classes.
        """
        chosen = resolve(SPACES[self.name], parameters)
        check_rows(rows, objective)
        if rows.X.shape[1:] != (N_FEATURES,):
            raise ShapeError("lexicon rows", f"(n, {N_FEATURES}) of its own", str(rows.X.shape))
        if objective != Objective("softmax", N_SCORES):
            problem = f"{objective.loss} with {objective.n_scores} scores"
            raise FitError(self.name, problem, "it knows negative, neutral and positive only")
        zero, one = np.zeros(N_FEATURES, np.float32), np.ones(N_FEATURES, np.float32)
        weight = np.zeros((N_FEATURES, N_SCORES), np.float32)
        weight[TONE] = np.array([-1.0, 0.0, 1.0]) * float(chosen["sharpness"])  # type: ignore[arg-type]
        bias = np.array([0.0, chosen["neutral"], 0.0], dtype=np.float32)
        preprocessing = Preprocessing(
            fill=zero, low=-LARGEST * one, high=LARGEST * one, shift=zero, scale=one
        )
        return LexiconEstimator(Linear(preprocessing, weight, bias))


LEXICON = Lexicon()
