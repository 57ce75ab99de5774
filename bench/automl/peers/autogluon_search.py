"""One search of AutoGluon, in a Python that has `autogluon.tabular[lightgbm,catboost,xgboost]`.

Called with two files: what `bench.automl` gives, and where the result goes. Its defaults (preset
`medium_quality`, a weighted ensemble of all models), with the metric that is judged and one thread.
It has no loss for a variance, and fits the logarithm of the ratio by squared error, scaled back.
"""

import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd


def main() -> None:
    """Search and write the result."""
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    kind, seconds = str(given["kind"]), int(given["seconds"])
    frame = pd.DataFrame(given["X"])
    test = pd.DataFrame(given["X_test"])
    y = given["y"]
    frame["target"] = y.astype(int) if kind == "classes" else np.log(y) if kind == "variance" else y
    from autogluon.tabular import TabularPredictor

    metric = "log_loss" if kind == "classes" else "root_mean_squared_error"
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("target", path=folder, eval_metric=metric, verbosity=0)
        began = time.perf_counter()
        predictor.fit(frame, time_limit=seconds, num_cpus=1, num_gpus=0)
        taken = time.perf_counter() - began
        board = predictor.leaderboard()
        best = board.set_index("model").loc[predictor.model_best]
        if kind == "classes":
            predicted = predictor.predict_proba(test).to_numpy()
        else:
            predicted = predictor.predict(test).to_numpy()
        score = -float(best["score_val"])
        if kind == "variance":
            scale = float(np.mean(y / np.exp(predictor.predict(frame.drop(columns="target")))))
            predicted, score = scale * np.exp(predicted), np.nan
        np.savez(
            sys.argv[2],
            predicted=predicted,
            search_score=score,
            seconds=taken,
            trials=len(board),
            note=str(predictor.model_best),
        )


if __name__ == "__main__":
    main()
