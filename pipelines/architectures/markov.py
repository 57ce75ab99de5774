"""Hidden Markov model: Gaussian states that last, fitted by hmmlearn, filtered and never smoothed.

Windows of rows that follow each other are joined into one sequence per unbroken run: the whole
first window, then the newest step of each further one. The model is fitted to these sequences by
expectation maximisation (Rabiner 1989). Only the filter over a window is kept
(`registry.flavors.arrays.markov`): hmmlearn's own predictions use the whole sequence, so a state of
the past would know the future.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hmmlearn.hmm import GaussianHMM
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
)
from pipelines.architectures.array_estimator import ArrayEstimator
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.rows import checked_rows
from pipelines.architectures.scaling import fit_preprocessing
from pipelines.architectures.spaces import MOST_STATES, SPACES
from pipelines.architectures.threads import limited_threads
from pipelines.architectures.torch_nets.clusters import STABLE
from registry.contract import Json
from registry.errors import FitError
from registry.flavors.arrays.markov import MarkovFilter
from registry.flavors.arrays.preprocessing import Preprocessing

LEAST_PROBABILITY = 1e-10
"""Least probability of a transition: one that training never saw is rare, not impossible."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Standardised steps (n_steps, n_features) of unbroken runs, one after another."""

    steps: NDArray[np.float64]
    lengths: NDArray[np.int64]


class HiddenMarkov(Architecture):
    """A Gaussian hidden Markov model over windows of features."""

    name = "hmm"
    native_format = "arrays"
    default_window = 32
    objectives: tuple[Loss, ...] = ("states",)

    def choose(
        self, rows: TrainingRows, objective: Objective, parameters: Mapping[str, Json], seed: int
    ) -> dict[str, Json]:
        """Return the parameters with the number of states that the rows support.

        Of 2 to 4 states, the lowest BIC among those that are stable: a model of the older half and
        one of the newer half must tell the newer half's rows apart alike (adjusted Rand index of
        at least 0.6). Where no number is stable, the stablest.

        Raises:
            as `fit`.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        if chosen["n_states"] != 0:
            return chosen
        rows = _newest(rows, chosen)
        stability, bic = {}, {}
        for k in range(2, MOST_STATES + 1):
            settings = chosen | {"n_states": k}
            older, newer = (_fitted(_part(rows, half), settings, seed)[0] for half in (0, 1))
            judged = _part(rows, 1).X
            labels = [model(judged).argmax(axis=1) for model in (older, newer)]
            stability[k] = float(adjusted_rand_score(*labels))
            bic[k] = _fitted(rows, settings, seed)[1]
        stable = [k for k in stability if stability[k] >= STABLE]
        best = min(stable, key=bic.__getitem__) if stable else max(stability, key=stability.get)  # type: ignore[arg-type]
        return chosen | {"n_states": best}

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Fit from `restarts` starting points and keep the likeliest fit that converged.

        Of the rows, the `newest_rows` are fitted.
        Weights of rows decide the order of the states alone: a sequence has no rows to weigh.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or an
                objective other than states.
            ShapeError: no rows, or rows without a window.
            ValueRangeError: an infinite feature, a return that is not finite.
            FitError: too few steps for the states, or no start converged.
        """
        chosen = self.choose(rows, objective, parameters, seed)
        model, _ = _fitted(_newest(checked_rows(self, rows, objective), chosen), chosen, seed)
        return ArrayEstimator(model, seed)


def sequences(preprocessing: Preprocessing, X: NDArray[np.float32]) -> Sequences:
    """Return the steps behind windows (n, window, n_features), each step once.

    A window continues the run whose newest window ends with all but its own newest step; symbols
    that take turns in the rows therefore keep runs of their own.
    """
    runs: list[list[int]] = []
    open_runs: dict[bytes, list[int]] = {}
    for row in range(len(X)):
        run = open_runs.pop(X[row, :-1].tobytes(), None)
        if run is None:
            run = []
            runs.append(run)
        run.append(row)
        open_runs[X[row, 1:].tobytes()] = run
    pieces = [np.concatenate([X[run[0]], X[run[1:], -1]]) for run in runs]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    return Sequences(preprocessing(np.concatenate(pieces)).astype(np.float64), lengths)


def _newest(rows: TrainingRows, chosen: Mapping[str, Any]) -> TrainingRows:
    return _slice(rows, slice(-chosen["newest_rows"], None))


def _part(rows: TrainingRows, half: int) -> TrainingRows:
    """Return the older (0) or the newer half (1) of the rows."""
    middle = len(rows.X) // 2
    return _slice(rows, slice(0, middle) if half == 0 else slice(middle, None))


def _slice(rows: TrainingRows, span: slice) -> TrainingRows:
    return TrainingRows(rows.X[span], rows.y[span], rows.weight[span])


def _fitted(rows: TrainingRows, chosen: Mapping[str, Any], seed: int) -> tuple[MarkovFilter, float]:
    """Return the filter with its states in order, and the fit's BIC."""
    preprocessing = fit_preprocessing(rows.X[:, -1], rows.weight, "standard")
    found = sequences(preprocessing, rows.X)
    if len(found.steps) < 10 * chosen["n_states"]:
        problem = f"{len(found.steps)} steps for {chosen['n_states']} states"
        raise FitError("hmm", problem, "use more bars or fewer states")
    with limited_threads(chosen["nthread"]):
        library = _likeliest(found, chosen, seed)
        bic = float(library.bic(found.steps, found.lengths))
    unordered = _filter(library, preprocessing, rows.X.shape[1], np.arange(chosen["n_states"]))
    order = _by_variance(np.exp(unordered(rows.X).astype(np.float64)), rows.y, rows.weight)
    return _filter(library, preprocessing, rows.X.shape[1], order), bic


def _likeliest(found: Sequences, chosen: Mapping[str, Any], seed: int) -> GaussianHMM:
    fits = []
    for start in range(chosen["restarts"]):
        library = GaussianHMM(
            n_components=chosen["n_states"],
            covariance_type=chosen["covariance"],
            n_iter=chosen["max_iter"],
            tol=chosen["tol"] * len(found.steps),
            random_state=(seed + start) % 2**32,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a start that fails is not kept
            try:
                library.fit(found.steps, found.lengths)
                likelihood = library.score(found.steps, found.lengths)
            except ValueError:  # covariances that are no longer positive definite
                continue
        history = list(library.monitor_.history)
        has_settled = len(history) > 1 and history[-1] - history[-2] < library.tol
        if has_settled and np.isfinite(likelihood):
            fits.append((likelihood, -start, library))
    if not fits:
        problem = f"none of {chosen['restarts']} starts converged within {chosen['max_iter']} steps"
        raise FitError("hmm", problem, "raise tol or max_iter, or use fewer states")
    return max(fits, key=lambda fit: fit[:2])[2]


def _filter(
    library: GaussianHMM, preprocessing: Preprocessing, window: int, order: NDArray[np.intp]
) -> MarkovFilter:
    """Return the filter whose state i is the library's state `order[i]`."""
    transition = np.maximum(library.transmat_[np.ix_(order, order)], LEAST_PROBABILITY)
    transition /= transition.sum(axis=1, keepdims=True)
    # covars_ are full matrices (K, F, F) whatever the covariance type
    factors = [np.linalg.cholesky(np.linalg.inv(c)) for c in library.covars_[order]]
    means = library.means_[order]
    centre = np.stack([mean @ factor for mean, factor in zip(means, factors, strict=True)])
    level = [np.log(np.diag(f)).sum() - 0.5 * len(f) * np.log(2 * np.pi) for f in factors]
    return MarkovFilter(
        window=window,
        preprocessing=preprocessing,
        start=np.log(stationary(transition)).astype(np.float32),
        transition=np.log(transition).astype(np.float32),
        whiten=np.hstack(factors).astype(np.float32),
        centre=centre.astype(np.float32),
        level=np.array(level, np.float32),
    )


def stationary(transition: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution that the transition matrix (K, K) leaves as it is."""
    n = len(transition)
    system = np.vstack([transition.T - np.eye(n), np.ones(n)])
    solution, *_ = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)
    positive = np.maximum(solution, LEAST_PROBABILITY)
    return np.asarray(positive / positive.sum())


def _by_variance(
    share: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return state numbers in order of rising weighted variance of y; an empty state is last."""
    mass = (share * weight[:, None]).sum(axis=0)
    safe = np.maximum(mass, np.finfo(np.float64).tiny)
    mean = (share * weight[:, None]).T @ y / safe
    spread = np.array([(share[:, k] * weight) @ (y - mean[k]) ** 2 for k in range(len(mass))])
    variance = np.where(mass > 0, spread / safe, np.inf)
    return np.argsort(variance, kind="stable")


HMM = HiddenMarkov()
