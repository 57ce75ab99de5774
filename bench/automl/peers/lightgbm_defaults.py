"""LightGBM with its defaults: no search. Its score before the untouched rows is that of five folds.

Called with two files: what `bench.automl` gives, and where the result goes.
"""

import sys
import time
import warnings

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit

FOLDS = 5


def main() -> None:
    """Fit, score and write the result."""
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    kind, seed = str(given["kind"]), int(given["seed"])
    X, y, began = given["X"], given["y"], time.perf_counter()
    if kind == "classes":
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    else:
        shuffled = KFold(FOLDS, shuffle=True, random_state=seed)
        split = TimeSeriesSplit(FOLDS) if kind == "variance" else shuffled
    losses = [
        _losses(kind, y[test], _fitted(kind, seed, X[train], y[train])(X[test]))
        for train, test in split.split(X, y)
    ]
    mean = float(np.mean(np.concatenate(losses)))
    np.savez(
        sys.argv[2],
        predicted=_fitted(kind, seed, X, y)(given["X_test"]),
        search_score=np.sqrt(mean) if kind == "number" else mean,
        seconds=time.perf_counter() - began,
        trials=1,
        note="defaults",
    )


def _fitted(kind, seed, X, y):
    settings = {"n_jobs": 1, "random_state": seed, "verbosity": -1}
    if kind == "classes":
        return LGBMClassifier(**settings).fit(X, y.astype(int)).predict_proba
    objective = "gamma" if kind == "variance" else "regression"
    return LGBMRegressor(objective=objective, **settings).fit(X, y).predict


def _losses(kind, y, predicted):
    if kind == "classes":
        return -np.log(np.maximum(predicted[np.arange(len(y)), y.astype(int)], 1e-15))
    if kind == "number":
        return (y - predicted) ** 2
    return y / predicted - np.log(y / predicted) - 1


if __name__ == "__main__":
    main()
