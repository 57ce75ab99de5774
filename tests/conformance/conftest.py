"""Tiny learning problems that every architecture, flavor and backend is put to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.architectures import ARCHITECTURES, Estimator, Loss, Objective, TrainingRows
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input
from registry.flavors import FLAVORS, NativeModel

N_ROWS, N_FEATURES, WINDOW, N_CLASSES = 1000, 6, 4, 3
QUICK = {
    "rounds": 40,
    "n_estimators": 40,
    "epochs": 6,
    "batch_size": 64,
    "hidden": 16,
    "n_states": 2,
    "nthread": 1,
}
"""Settings that make a fit quick, for whatever architecture has a parameter of that name."""
N_SCORES = {"softmax": N_CLASSES, "states": 0, "scenarios": 0}
SEED = 7
GIVEN = ("lexicon", "pretrained_text")
"""They fit nothing to rows, and have tests of their own."""


def _is_slow(name: str, loss: Loss) -> bool:
    """Networks take seconds to export and differ by loss in their last layer alone, so one without
    and one with a window stand for them; CatBoost compiles its gamma loss once per process."""
    if ARCHITECTURES.get(name).native_format == "torch-export":
        return loss != "softmax" or name not in ("mlp", "lstm")
    return (name, loss) == ("catboost", "gamma")


FITTED = [
    pytest.param(
        (name, Objective(loss, N_SCORES.get(loss, 1))),
        marks=pytest.mark.slow if _is_slow(name, loss) else (),
    )
    for name in sorted({*ARCHITECTURES} - {*GIVEN})
    for loss in ARCHITECTURES.get(name).objectives
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows to fit, fresh rows to judge on, and what a perfect model would know about these.

    `truth` is `test.y` where an objective is supervised; else the hidden states, whether a row is
    unusual, or the 95 % value at risk of a portfolio.
    """

    architecture: str
    objective: Objective
    train: TrainingRows
    test: TrainingRows
    truth: NDArray[np.float64]
    seed: int = SEED

    @property
    def n_scores(self) -> int:
        """How many scores the fit gives."""
        return self.objective.n_scores or _fitted(self.architecture, self.objective).n_scores

    def fit(self) -> Estimator:
        return self.fit_to(self.train)

    def fit_to(self, rows: TrainingRows) -> Estimator:
        """Fit other rows in the same short way."""
        architecture = ARCHITECTURES.get(self.architecture)
        known = architecture.parameters(self.objective)
        parameters = {name: value for name, value in QUICK.items() if name in known}
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
            outputs=TensorSpec("scores", "float32", (None, self.n_scores)),
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


def mean_loss(
    objective: Objective, scores: NDArray[np.float32], truth: NDArray[np.float64]
) -> float:
    """The loss that `Objective` names, written out in float64.

    For states the log loss of the hidden ones, for novelty the chance that an unusual row scores
    below a usual one, for scenarios the error of the 95 % value at risk.
    """
    s = scores.astype(np.float64)
    if objective.loss in ("softmax", "states"):
        chosen = s[np.arange(len(truth)), truth.astype(int)]
        return float((np.log(np.exp(s).sum(axis=1)) - chosen).mean())
    if objective.loss == "gamma":
        return float((s[:, 0] + truth * np.exp(-s[:, 0])).mean())
    if objective.loss == "novelty":
        above = s[truth == 1] - s[truth == 0].T
        return float(((above < 0) + 0.5 * (above == 0)).mean())
    if objective.loss == "scenarios":
        return float(np.abs(np.quantile(s, 0.95, axis=1) / truth - 1).mean())
    return float(((s[:, 0] - truth) ** 2).mean())


def constant_scores(problem: Problem) -> NDArray[np.float32]:
    """The best constant of the objective on the training rows, (1, n_scores)."""
    y, loss = problem.train.y, problem.objective.loss
    if loss in ("softmax", "states"):
        labels = problem.truth if loss == "states" else y
        return np.log(np.bincount(labels.astype(int)) / len(labels))[None].astype(np.float32)
    if loss in ("novelty", "scenarios"):
        return np.zeros((1, 1), np.float32)
    return np.array([[np.log(y.mean()) if loss == "gamma" else y.mean()]], np.float32)


def _features(architecture: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Features, independent and of one scale; windows slide along one series."""
    steps = (0.02 + 0.01 * rng.standard_normal((N_ROWS + WINDOW, N_FEATURES))).astype(np.float32)
    return _windowed(architecture, steps)


def _windowed(architecture: str, steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The newest N_ROWS steps, each alone or behind those before it."""
    if ARCHITECTURES.get(architecture).default_window == 1:
        return steps[-N_ROWS:].copy()
    windows = np.lib.stride_tricks.sliding_window_view(steps, WINDOW, axis=0)
    return np.ascontiguousarray(windows[-N_ROWS:].transpose(0, 2, 1))


def _rows(
    architecture: str, objective: Objective, seed: int
) -> tuple[TrainingRows, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    if objective.loss in ("states", "novelty", "scenarios"):
        return UNSUPERVISED[objective.loss](architecture, rng)
    X = _features(architecture, rng)
    newest = X[:, -1] if X.ndim == 3 else X
    signal = 100.0 * (newest[:, 0].astype(np.float64) - 0.02)
    if objective.loss == "gamma":
        y = rng.gamma(4.0, 0.25, N_ROWS) * np.exp(0.8 * signal)
    elif objective.loss == "softmax":
        y = np.digitize(signal + 0.5 * rng.standard_normal(N_ROWS), [-0.5, 0.5]).astype(np.float64)
    else:
        y = signal + 0.5 * rng.standard_normal(N_ROWS)
    return TrainingRows(X, y, np.ones(N_ROWS)), y


def _state_rows(
    architecture: str, rng: np.random.Generator
) -> tuple[TrainingRows, NDArray[np.float64]]:
    """Two states that last 50 steps on average; feature 0 differs, and y is wider in state 1."""
    n = N_ROWS + WINDOW
    state = (np.cumsum(rng.random(n) < 0.02) % 2).astype(np.float64)
    steps = 0.02 + 0.01 * rng.standard_normal((n, N_FEATURES))
    steps[:, 0] += 0.06 * state
    y = rng.standard_normal(n) * (0.01 + 0.02 * state)
    X = _windowed(architecture, steps.astype(np.float32))
    return TrainingRows(X, y[-N_ROWS:], np.ones(N_ROWS)), state[-N_ROWS:]


def _novelty_rows(
    architecture: str, rng: np.random.Generator
) -> tuple[TrainingRows, NDArray[np.float64]]:
    """One row in fifty lies ten deviations away in feature 0."""
    X = _features(architecture, rng)
    is_unusual = rng.random(N_ROWS) < 0.02
    X[is_unusual, ..., 0] += np.float32(0.1)
    return TrainingRows(X, np.zeros(N_ROWS), np.ones(N_ROWS)), is_unusual.astype(np.float64)


def _scenario_rows(
    architecture: str, rng: np.random.Generator
) -> tuple[TrainingRows, NDArray[np.float64]]:
    """Normal returns whose symbol 0 is ten times as wide; a test's features are weights."""
    deviation = np.array([0.03, *[0.003] * (N_FEATURES - 1)])
    X = (deviation * rng.standard_normal((N_ROWS, N_FEATURES))).astype(np.float32)
    return TrainingRows(X, np.zeros(N_ROWS), np.ones(N_ROWS)), np.zeros(N_ROWS)


UNSUPERVISED = {"states": _state_rows, "novelty": _novelty_rows, "scenarios": _scenario_rows}


@cache
def _problem(architecture: str, objective: Objective) -> Problem:
    train, _ = _rows(architecture, objective, 1)
    test, truth = _rows(architecture, objective, 2)
    if objective.loss == "scenarios":
        weights = np.random.default_rng(3).dirichlet(np.ones(N_FEATURES), N_ROWS)
        test = TrainingRows(weights.astype(np.float32), test.y, test.weight)
        truth = 1.645 * np.sqrt(weights**2 @ np.array([0.03, *[0.003] * (N_FEATURES - 1)]) ** 2)
    return Problem(architecture, objective, train, test, truth)


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
    """Mean loss of scores against the truth."""
    return mean_loss


@pytest.fixture
def constant_of() -> Callable[..., NDArray[np.float32]]:
    """Scores of the constant forecast."""
    return constant_scores
