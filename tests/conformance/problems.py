"""Tiny learning problems that every architecture, flavor and backend is put to.

Nothing is imported or fitted before a problem is asked for; the catalogs say which there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import ARCHITECTURES, Estimator, Loss, Objective, TrainingRows
from registry.contract import ModelContract
from tests.examples import make_contract

N_ROWS, N_FEATURES, WINDOW, N_CLASSES = 1000, 6, 4, 3
QUICK = {
    "rounds": 40,
    "n_estimators": 40,
    "max_bins": 32,
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
DEVIATION = np.array([0.03, *[0.003] * (N_FEATURES - 1)])
"""Of the returns of the symbols of `scenarios`."""
NORMAL_QUANTILES = {0.05: -1.645, 0.95: 1.645, 0.99: 2.326}


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows to fit, fresh rows to judge on, and what a perfect model would know about these.

    `truth` is `test.y` where an objective is supervised; else the hidden states, whether a row is
    unusual, or the standard deviation of a portfolio's return.
    """

    architecture: str
    objective: Objective
    train: TrainingRows
    test: TrainingRows
    truth: NDArray[np.float64]
    seed: int = SEED

    @property
    def loss(self) -> Loss:
        """The loss of the objective."""
        return self.objective.loss

    def fit(self, rows: TrainingRows | None = None) -> Estimator:
        """Fit the training rows, or others, in a short way."""
        architecture = ARCHITECTURES.get(self.architecture)
        known = architecture.parameters(self.objective)
        parameters = {name: value for name, value in QUICK.items() if name in known}
        return architecture.fit(rows or self.train, self.objective, parameters, self.seed)

    def contract(self, n_scores: int) -> ModelContract:
        """The contract of a version with that fit."""
        return make_contract(
            n_scores,
            architecture=self.architecture,
            feature_names=tuple(f"f{i}" for i in range(N_FEATURES)),
            window=self.train.X.shape[1] if self.train.X.ndim == 3 else 1,
            native_format=ARCHITECTURES.get(self.architecture).native_format,
        )


# Which problems there are ----------------------------------------------------------------------


def problem_names() -> list[tuple[str, Loss]]:
    """Every architecture that is fitted to rows, with every loss that it takes."""
    names = sorted({*ARCHITECTURES} - {*GIVEN})
    return [(name, loss) for name in names for loss in ARCHITECTURES.get(name).objectives]


def learner_names() -> list[str]:
    """Every architecture whose fit has a number of threads: it learns more than it looks up."""
    return [n for n in ARCHITECTURES if "nthread" in ARCHITECTURES.get(n).parameters(first(n))]


def first(name: str) -> Objective:
    """The first objective of an architecture."""
    loss = ARCHITECTURES.get(name).objectives[0]
    return Objective(loss, N_SCORES.get(loss, 1))


def format_names() -> list[tuple[str, Loss]]:
    """One problem per native format: the first whose fit and export are quick."""
    found: dict[str, tuple[str, Loss]] = {}
    for name, loss in sorted(problem_names(), key=lambda problem: is_slow(*problem)):
        found.setdefault(ARCHITECTURES.get(name).native_format, (name, loss))
    return list(found.values())


def is_slow(name: str, loss: Loss) -> bool:
    """Networks take seconds to export and differ by loss in their last layer alone, so one without
    and one with a window stand for them; CatBoost compiles its gamma loss once per process."""
    if ARCHITECTURES.get(name).native_format == "torch-export":
        return loss != "softmax" or name not in ("mlp", "lstm")
    return (name, loss) == ("catboost", "gamma")


# What scores are worth -------------------------------------------------------------------------


def mean_loss(problem: Problem, scores: NDArray[np.float32]) -> float:
    """The loss that `Objective` names on the fresh rows, written out in float64.

    For states the log loss of the hidden ones, for novelty the chance that an unusual row scores
    below a usual one, for scenarios the worst relative error of a quantile of the losses.
    """
    s, truth = scores.astype(np.float64), problem.truth
    if problem.loss in ("softmax", "states"):
        chosen = s[np.arange(len(truth)), truth.astype(int)]
        return float((np.log(np.exp(s).sum(axis=1)) - chosen).mean())
    if problem.loss == "gamma":
        return float((s[:, 0] + truth * np.exp(-s[:, 0])).mean())
    if problem.loss == "novelty":
        above = s[truth == 1] - s[truth == 0].T
        return float(((above < 0) + 0.5 * (above == 0)).mean())
    if problem.loss == "scenarios":
        return max(_quantile_errors(s, truth))
    return float(((s[:, 0] - truth) ** 2).mean())


def _quantile_errors(losses: NDArray[np.float64], deviation: NDArray[np.float64]) -> Iterator:
    for share, z in NORMAL_QUANTILES.items():
        yield float(np.abs(np.quantile(losses, share, axis=1) / (z * deviation) - 1).mean())


def loss_to_beat(problem: Problem) -> float:
    """What a fit must be better than: clearly better than a constant where y is forecast.

    Unsupervised fits see their states, unusual rows and quantiles almost without error; ranks at
    random would lose 0.5 of the novelty, losses of nothing 1 of the scenarios.
    """
    if problem.loss == "novelty":
        return 0.02
    if problem.loss == "scenarios":
        return 0.15
    constant = np.repeat(_constant_scores(problem), len(problem.test.y), axis=0)
    return mean_loss(problem, constant) - (0.3 if problem.loss == "states" else 0.05)


def _constant_scores(problem: Problem) -> NDArray[np.float32]:
    """The best constant of the objective on the training rows, (1, n_scores)."""
    y, loss = problem.train.y, problem.loss
    if loss in ("softmax", "states"):
        labels = problem.truth if loss == "states" else y
        return np.log(np.bincount(labels.astype(int)) / len(labels))[None].astype(np.float32)
    return np.array([[np.log(y.mean()) if loss == "gamma" else y.mean()]], np.float32)


# Rows ------------------------------------------------------------------------------------------


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
    architecture: str, loss: Loss, rng: np.random.Generator
) -> tuple[TrainingRows, NDArray[np.float64]]:
    if loss in UNSUPERVISED:
        return UNSUPERVISED[loss](architecture, rng)
    X = _features(architecture, rng)
    newest = X[:, -1] if X.ndim == 3 else X
    signal = 100.0 * (newest[:, 0].astype(np.float64) - 0.02)
    if loss == "gamma":
        y = rng.gamma(4.0, 0.25, N_ROWS) * np.exp(0.8 * signal)
    elif loss == "softmax":
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
    """Normal returns whose symbol 0 is ten times as wide."""
    X = (DEVIATION * rng.standard_normal((N_ROWS, N_FEATURES))).astype(np.float32)
    return TrainingRows(X, np.zeros(N_ROWS), np.ones(N_ROWS)), np.zeros(N_ROWS)


UNSUPERVISED = {"states": _state_rows, "novelty": _novelty_rows, "scenarios": _scenario_rows}


def _portfolios(rng: np.random.Generator) -> tuple[TrainingRows, NDArray[np.float64]]:
    """Weights of portfolios, which a fit of `scenarios` takes, and the deviation of each."""
    weights = rng.dirichlet(np.ones(N_FEATURES), N_ROWS)
    rows = TrainingRows(weights.astype(np.float32), np.zeros(N_ROWS), np.ones(N_ROWS))
    return rows, np.sqrt(weights**2 @ DEVIATION**2)


@cache
def make_problem(architecture: str, loss: Loss) -> Problem:
    """The problem of an architecture and a loss, the same whenever it is asked for."""
    train, _ = _rows(architecture, loss, np.random.default_rng(1))
    if loss == "scenarios":
        test, truth = _portfolios(np.random.default_rng(3))
    else:
        test, truth = _rows(architecture, loss, np.random.default_rng(2))
    return Problem(architecture, Objective(loss, N_SCORES.get(loss, 1)), train, test, truth)
