"""One search of FLAML, in a Python that has what `pip install "flaml[automl]"` brings.

Called with two files: what `bench.automl` gives, and where the result goes. FLAML's own defaults,
with the metric that is judged and one thread. That install has no CatBoost, and one that is there
is not used: on a hundred rows its first trial takes minutes. For a variance its metric is QLIKE,
its validation follows the order of time, and LightGBM and XGBoost fit a gamma loss, which the other
tools have.
"""

import sys
import time
import warnings

import numpy as np

SMALLEST = 1e-6
"""A ratio below it is no forecast of a variance."""


def main() -> None:
    """Search and write the result."""
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    kind, seconds, seed = str(given["kind"]), int(given["seconds"]), int(given["seed"])
    X, y = given["X"], given["y"]
    sys.modules["catboost"] = None
    from flaml import AutoML

    automl, began = AutoML(), time.perf_counter()
    settings = {"time_budget": seconds, "n_jobs": 1, "seed": seed, "verbose": 0}
    if kind == "classes":
        automl.fit(X, y.astype(int), task="classification", metric="log_loss", **settings)
        predicted = automl.predict_proba(given["X_test"])
    elif kind == "number":
        automl.fit(X, y, task="regression", metric="rmse", **settings)
        predicted = automl.predict(given["X_test"])
    else:
        _with_gamma(automl)
        chosen = {"metric": _qlike, "split_type": "time", "estimator_list": ["lgbm_g", "xgb_g"]}
        automl.fit(X, y, task="regression", **settings, **chosen)
        predicted = np.maximum(automl.predict(given["X_test"]), SMALLEST)
    np.savez(
        sys.argv[2],
        predicted=predicted,
        search_score=automl.best_loss,
        seconds=time.perf_counter() - began,
        trials=len(automl.config_history),
        note=f"{automl.best_estimator} {automl.best_config}",
    )


def _with_gamma(automl) -> None:
    from flaml.automl.model import LGBMEstimator, XGBoostSklearnEstimator

    class LightGBMGamma(LGBMEstimator):
        def __init__(self, **config):
            super().__init__(**config)
            self.params["objective"] = "gamma"

    class XGBoostGamma(XGBoostSklearnEstimator):
        def __init__(self, **config):
            super().__init__(**config)
            self.params["objective"] = "reg:gamma"

    automl.add_learner("lgbm_g", LightGBMGamma)
    automl.add_learner("xgb_g", XGBoostGamma)


def _qlike(X_val, y_val, estimator, *_, **__):
    """Return QLIKE as FLAML asks for a metric: to be minimised, and what its log shows."""
    ratio = np.asarray(y_val) / np.maximum(estimator.predict(X_val), SMALLEST)
    loss = float(np.mean(ratio - np.log(ratio) - 1))
    return loss, {"qlike": loss}


if __name__ == "__main__":
    main()
