"""Architectures: algorithms. Build, fit, predict, and hand over a native model.

Extension point: one file per family here, one line in `ARCHITECTURES`, one line in
docs/architectures.md; `tests/conformance/test_architectures.py` then runs on it.

Guarantees of every architecture:
- `fit` is deterministic for the same rows, parameters, seed and thread count;
- `Estimator.predict` returns raw scores: the margin for trees (before exp or softmax), the same
  quantity from a network, so that one template decodes both;
- scaling is fitted on the rows given to `fit` and lives inside the native model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures.hyperparameters import defaults
from pipelines.architectures.spaces import space_of
from registry.catalog import Catalog
from registry.contract import Json
from registry.errors import ShapeError, ValueRangeError
from registry.flavors import NativeModel

Loss = Literal["gamma", "softmax", "squared", "states", "novelty", "scenarios"]


@dataclass(frozen=True, slots=True)
class Objective:
    """What the scores mean and which loss is minimised.

    Supervised:
    - `gamma`: one score s, the forecast is exp(s); loss is the gamma deviance of y > 0.
    - `softmax`: `n_scores` logits; y holds class numbers 0 .. n_scores - 1; loss is log loss.
    - `squared`: one score, the forecast itself; loss is squared error.

    Unsupervised:
    - `states`: scores are log weights of states (softmax makes probabilities of them), in order of
      rising weighted variance of y; y orders the states and is never predicted.
    - `novelty`: one score, larger is more unusual; y is not used.
    - `scenarios`: X are simple returns (n_dates, n_symbols) in time order; the fitted model maps
      portfolio weights (n, n_symbols) to losses (n, n_scenarios); y is not used.

    `n_scores` 0 leaves their number to the fit (`Estimator.n_scores`). `horizon_bars` is how many
    bars a scenario spans.
    """

    loss: Loss
    n_scores: int = 1
    horizon_bars: int = 1

    @property
    def takes_labels(self) -> bool:
        """Whether rows are fitted with their labels; else also those whose label is not known."""
        return self.loss != "scenarios"

    @property
    def is_sample(self) -> bool:
        """Whether a row's scores are draws of one distribution, in no order that means anything."""
        return self.loss == "scenarios"


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows for one fit.

    `X` is float32, (n, n_features) or (n, window, n_features); `y` is float64 (n,);
    `weight` is float64 (n,), mean 1. `categorical` are the positions of features that hold
    category codes 0, 1, 2, ... (NaN where unknown). `columns` are what the features are called,
    where messages should say so.
    """

    X: NDArray[np.float32]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    categorical: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FitContext:
    """Where a fit reports and keeps its state; it does not change the result.

    `name` tells fits apart ("fold 3", "final"). `checkpoint` is a file to save to and to resume
    from; None keeps nothing. `report` takes an epoch, counted from 1, and its metrics; `notice` one
    line that a person should see. `device` is auto, cpu, cuda or mps.
    """

    name: str = "fit"
    checkpoint: Path | None = None
    report: Callable[[int, Mapping[str, float]], None] | None = None
    notice: Callable[[str], None] | None = None
    device: str = "auto"


QUIET = FitContext()


class Estimator(Protocol):
    """A fitted model."""

    n_scores: int
    is_rolling: ClassVar[bool] = False
    """Whether its state moves with each day, without a refit (`scenarios`)."""

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw scores, shape (n, n_scores)."""
        ...

    def walk(
        self, past: NDArray[np.float32], now: NDArray[np.float32], spec: Mapping[str, Json]
    ) -> NDArray[np.float32]:
        """Return raw scores of rows in time order, (n_now, n_scores).

        The score of row i knows `past` and the rows of `now` up to i. Only a rolling estimator
        needs to look back; any other predicts each row by itself.

        Args:
            past: the rows before `now`.
            spec: parameters of the label.
        """
        return self.predict(now)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return non-negative importance per feature summing to 1, shape (n_features,)."""
        ...

    def native(self) -> NativeModel:
        """Return the model in its library's own safe format."""
        ...


class Architecture(Protocol):
    """An algorithm; inherit from it. What it does not declare has a default."""

    name: str
    native_format: str
    default_window: int
    """1 takes single rows, more takes windows (n, window, n_features)."""
    objectives: tuple[Loss, ...]
    takes_missing: bool = False
    """Whether a feature may be NaN, which means that it is not known."""
    takes_categories: bool = False
    """Whether a feature may be a category's number (`TrainingRows.categorical`)."""
    text_encoder: str = ""
    """The one encoder of texts (`pipelines.data.texts.text_encoders`) whose features it takes;
    empty where any number does."""

    def parameters(self, objective: Objective) -> dict[str, Json]:
        """Return the default parameters, all JSON values: those of `spaces`."""
        return defaults(space_of(self.name, objective.loss))

    def choose(
        self, rows: TrainingRows, objective: Objective, parameters: Mapping[str, Json], seed: int
    ) -> Mapping[str, Json]:
        """Return the parameters, with those chosen that are left to the data (how many states).

        Asked once, with the training rows of the first fold; every fit then uses the answer.
        """
        return parameters

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit on the rows, which are in time order.

        Raises:
            ParameterError: an unknown parameter or a value of the wrong kind.
            FitError: the rows cannot be fitted, or the fit did not converge.
        """
        ...


ARCHITECTURES: Catalog[Architecture] = Catalog(
    "architecture",
    {
        "xgboost": "pipelines.architectures.boosting.xgboost:XGBOOST",
        "lightgbm": "pipelines.architectures.boosting.lightgbm:LIGHTGBM",
        "catboost": "pipelines.architectures.boosting.catboost:CATBOOST",
        "gradient_boosting": "pipelines.architectures.ensembles:GRADIENT_BOOSTING",
        "random_forest": "pipelines.architectures.ensembles:RANDOM_FOREST",
        "ridge": "pipelines.architectures.linear:RIDGE",
        "lasso": "pipelines.architectures.linear:LASSO",
        "elastic_net": "pipelines.architectures.linear:ELASTIC_NET",
        "logistic": "pipelines.architectures.linear:LOGISTIC",
        "kmeans": "pipelines.architectures.clustering:KMEANS",
        "dbscan": "pipelines.architectures.clustering:DBSCAN",
        "hmm": "pipelines.architectures.markov:HMM",
        "isolation_forest": "pipelines.architectures.isolation_forest:ISOLATION_FOREST",
        "mlp": "pipelines.architectures.mlp:MLP",
        "rnn": "pipelines.architectures.recurrent:RNN",
        "lstm": "pipelines.architectures.recurrent:LSTM",
        "gru": "pipelines.architectures.recurrent:GRU",
        "tcn": "pipelines.architectures.convolutional:TCN",
        "transformer": "pipelines.architectures.transformer:TRANSFORMER",
        "autoencoder": "pipelines.architectures.autoencoder:AUTOENCODER",
        "lstm_autoencoder": "pipelines.architectures.autoencoder:LSTM_AUTOENCODER",
        "lexicon": "pipelines.architectures.lexicon:LEXICON",
        "pretrained_text": "pipelines.architectures.pretrained_text:PRETRAINED_TEXT",
        "historical": "pipelines.architectures.scenarios:HISTORICAL",
        "ewma_fhs": "pipelines.architectures.scenarios:EWMA_FHS",
        "gjr_garch_fhs": "pipelines.architectures.scenarios:GJR_GARCH_FHS",
        "student_t_mc": "pipelines.architectures.scenarios:STUDENT_T_MC",
    },
)


def check_rows(rows: TrainingRows, objective: Objective) -> None:
    """Refuse rows that no architecture can fit.

    Raises:
        ShapeError: no rows, or `X`, `y` and `weight` differ in length.
        ValueRangeError: a weight that is not positive and finite, a target outside the
            objective's domain, or an infinite feature (NaN is the architecture's own business).
    """
    n = len(rows.X)
    if n == 0:
        raise ShapeError("training rows", "at least 1 row", "0")
    if rows.y.shape != (n,) or rows.weight.shape != (n,):
        found = f"y {rows.y.shape} and weight {rows.weight.shape}"
        raise ShapeError("training rows", f"y and weight of shape ({n},)", found)
    if np.isinf(rows.X).any():
        raise ValueRangeError("training features", np.inf, "finite float32 numbers or NaN")
    _check_all(rows.weight, rows.weight > 0, "training weight", "a finite number above 0")
    if objective.loss == "gamma":
        _check_all(rows.y, rows.y > 0, "gamma target", "a finite number above 0")
    elif objective.loss == "softmax":
        is_class = np.isin(rows.y, np.arange(objective.n_scores))
        wanted = f"a class number 0 .. {objective.n_scores - 1}"
        _check_all(rows.y, is_class, "softmax target", wanted)
    elif objective.loss in ("squared", "states"):
        _check_all(rows.y, np.isfinite(rows.y), f"{objective.loss} target", "a finite number")


def _check_all(
    values: NDArray[np.float64], good: NDArray[np.bool_], name: str, expected: str
) -> None:
    bad = values[~(good & np.isfinite(values))]
    if len(bad):
        raise ValueRangeError(name, float(bad[0]), expected)
