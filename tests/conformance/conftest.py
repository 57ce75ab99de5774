"""Tiny learning problems that every architecture, flavor and backend is put to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.architectures import ARCHITECTURES, Estimator, Objective, TrainingRows
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input
from registry.flavors import FLAVORS, NativeModel

N_ROWS, N_FEATURES, WINDOW = 1000, 6, 4
NETWORKS = ("mlp", "rnn", "lstm", "gru", "tcn", "transformer")
SHORT = {
    "xgboost": {"rounds": 40, "nthread": 1},
    **{name: {"epochs": 6, "batch_size": 64, "hidden": 16} for name in NETWORKS},
}
GIVEN = ("lexicon", "pretrained_text")
"""They fit nothing to rows, and have tests of their own."""
OBJECTIVES = (Objective("gamma"), Objective("softmax", 3), Objective("squared"))
FITTED = [
    # an export takes seconds, and networks differ by objective in their last layer alone
    pytest.param(
        (name, objective),
        marks=pytest.mark.slow if name in NETWORKS and objective.loss != "softmax" else (),
    )
    for name in sorted({*ARCHITECTURES} - {*GIVEN})
    for objective in OBJECTIVES
    if objective.loss in ARCHITECTURES.get(name).objectives
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows to fit, fresh rows to judge on, and what the constant forecast would score there."""

    architecture: str
    objective: Objective
    train: TrainingRows
    test: TrainingRows
    seed: int = 7

    def fit(self) -> Estimator:
        return self.fit_to(self.train)

    def fit_to(self, rows: TrainingRows) -> Estimator:
        """Fit other rows in the same short way; an architecture not listed uses its defaults."""
        parameters = SHORT.get(self.architecture, {})
        architecture = ARCHITECTURES.get(self.architecture)
        return architecture.fit(rows, self.objective, parameters, self.seed)

    def contract(self) -> ModelContract:
        architecture = ARCHITECTURES.get(self.architecture)
        window = self.train.X.shape[1] if self.train.X.ndim == 3 else 1
        return ModelContract(
            model_id="tiny",
            template="tiny",
            architecture=self.architecture,
            feature_set="tiny",
            feature_names=tuple(f"f{i}" for i in range(N_FEATURES)),
            feature_fingerprint="0" * 64,
            window=window,
            inputs=tensor_input(N_FEATURES, window),
            outputs=TensorSpec("scores", "float32", (None, self.objective.n_scores)),
            horizon="1d",
            horizon_bars=1,
            interval="1d",
            min_history=window,
            symbols=("AAA",),
            price_basis="adjusted",
            native_format=architecture.native_format,
            label_spec={},
            cost_spec={},
            parameters={},
            data=DataSpan("synthetic", "0" * 64, "2000-01-01", "2001-01-01", N_ROWS),
            trained_until="2001-01-01",
            seed=self.seed,
            git_commit="0" * 40,
            lock_sha256="0" * 64,
            created_at="2001-01-02",
        )


def mean_loss(objective: Objective, scores: NDArray[np.float32], y: NDArray[np.float64]) -> float:
    """The loss that `Objective` names, written out in float64."""
    s = scores.astype(np.float64)
    if objective.loss == "softmax":
        chosen = s[np.arange(len(y)), y.astype(int)]
        return float((np.log(np.exp(s).sum(axis=1)) - chosen).mean())
    if objective.loss == "gamma":
        return float((s[:, 0] + y * np.exp(-s[:, 0])).mean())
    return float(((s[:, 0] - y) ** 2).mean())


def constant_scores(objective: Objective, y: NDArray[np.float64]) -> NDArray[np.float32]:
    """The best constant of the objective on `y`, (1, n_scores)."""
    if objective.loss == "softmax":
        share = np.bincount(y.astype(int), minlength=objective.n_scores) / len(y)
        return np.log(share)[None].astype(np.float32)
    mean = y.mean()
    return np.array([[np.log(mean) if objective.loss == "gamma" else mean]], np.float32)


def _rows(architecture: str, objective: Objective, seed: int) -> TrainingRows:
    rng = np.random.default_rng(seed)
    is_windowed = ARCHITECTURES.get(architecture).default_window > 1
    shape = (N_ROWS, WINDOW, N_FEATURES) if is_windowed else (N_ROWS, N_FEATURES)
    X = (0.02 + 0.01 * rng.standard_normal(shape)).astype(np.float32)
    newest = X[:, -1] if is_windowed else X
    signal = 100.0 * (newest[:, 0].astype(np.float64) - 0.02)
    if objective.loss == "gamma":
        y = rng.gamma(4.0, 0.25, N_ROWS) * np.exp(0.8 * signal)
    elif objective.loss == "softmax":
        y = np.digitize(signal + 0.5 * rng.standard_normal(N_ROWS), [-0.5, 0.5]).astype(np.float64)
    else:
        y = signal + 0.5 * rng.standard_normal(N_ROWS)
    return TrainingRows(X, y, np.ones(N_ROWS))


@cache
def _problem(architecture: str, objective: Objective) -> Problem:
    return Problem(
        architecture,
        objective,
        _rows(architecture, objective, 1),
        _rows(architecture, objective, 2),
    )


@cache
def _fitted(architecture: str, objective: Objective) -> Estimator:
    return _problem(architecture, objective).fit()


@cache
def _native(architecture: str, objective: Objective) -> NativeModel:
    return _fitted(architecture, objective).native()


@cache
def _artifact(architecture: str, objective: Objective, flavor: str) -> bytes:
    contract = _problem(architecture, objective).contract()
    return FLAVORS.get(flavor).write(_native(architecture, objective), contract)


@pytest.fixture(params=FITTED, ids=lambda p: f"{p[0]}-{p[1].loss}")
def problem(request: pytest.FixtureRequest) -> Problem:
    """Every architecture with every objective."""
    return _problem(*request.param)


@pytest.fixture
def estimator(problem: Problem) -> Estimator:
    """The problem's fit, made once per process."""
    return _fitted(problem.architecture, problem.objective)


@pytest.fixture
def native(problem: Problem) -> NativeModel:
    """The estimator's native model, exported once per process."""
    return _native(problem.architecture, problem.objective)


@pytest.fixture
def written(problem: Problem) -> Callable[[str], bytes]:
    """Flavor name -> the estimator's artifact, written once per process."""
    return lambda flavor: _artifact(problem.architecture, problem.objective, flavor)


@pytest.fixture
def loss_of() -> Callable[..., float]:
    """Mean loss of scores."""
    return mean_loss


@pytest.fixture
def constant_of() -> Callable[..., NDArray[np.float32]]:
    """Scores of the constant forecast."""
    return constant_scores
