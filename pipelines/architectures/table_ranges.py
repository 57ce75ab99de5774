"""Where a search over a table looks: wider than over bars, and from other first points.

A table may have a hundred rows whose columns tell much, where bars are many and tell little: leaves
of few rows, small batches and many epochs are worth a try. The first points are what does well on
small tables, cheap before dear, so that a short search has seen every architecture.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pipelines.architectures.search_ranges import Among, Range, Searched
from registry.contract import Json


def _whole(low: int, high: int) -> Range:
    return Range(low, high, is_log=True, is_integer=True)


_PENALTY = {"alpha": Range(1e-4, 3.0, is_log=True)}

TABLE_RANGES: Mapping[str, Mapping[str, Searched]] = MappingProxyType(
    {
        "ridge": _PENALTY,
        "lasso": {"alpha": Range(1e-4, 0.3, is_log=True)},
        "elastic_net": {"alpha": Range(1e-4, 0.3, is_log=True)},
        "logistic": _PENALTY,
        "lightgbm": {"rounds": _whole(20, 600), "min_data_in_leaf": _whole(2, 200)},
        "xgboost": {
            "rounds": _whole(20, 600),
            "min_child_weight": Range(0.05, 200.0, is_log=True),
        },
        "catboost": {"rounds": _whole(20, 600)},
        "random_forest": {
            "n_estimators": _whole(50, 400),
            "max_depth": Range(3, 24, is_integer=True),
            "min_samples_leaf": _whole(1, 200),
        },
        "gradient_boosting": {"rounds": _whole(20, 600), "min_samples_leaf": _whole(2, 200)},
        "mlp": {
            "hidden": Among((32, 64, 128, 256)),
            "layers": Range(1, 2, is_integer=True),
            "epochs": _whole(8, 100),
            "learning_rate": Range(3e-4, 1e-2, is_log=True),
            "patience": Among((10,)),
            "batch_size": Among((16, 32, 64, 128, 256, 512)),
        },
    }
)
"""Ranges that replace those of `search_ranges`; what is not named keeps them."""

FIRST_POINTS: Mapping[str, Mapping[str, Json]] = MappingProxyType(
    {
        "logistic": {"alpha": 0.003},
        "ridge": {"alpha": 0.03},
        "lasso": {"alpha": 0.01},
        "elastic_net": {"alpha": 0.01},
        "lightgbm": {
            "rounds": 100,
            "num_leaves": 8,
            "learning_rate": 0.1,
            "min_data_in_leaf": 10,
            "bagging_fraction": 0.8,
        },
        "xgboost": {"rounds": 100, "eta": 0.1, "min_child_weight": 1.0, "subsample": 0.8},
        "catboost": {"rounds": 150, "learning_rate": 0.1, "subsample": 0.8},
        "random_forest": {
            "n_estimators": 100,
            "max_depth": 16,
            "min_samples_leaf": 2,
            "max_features": 0.3,
        },
        "gradient_boosting": {"rounds": 60, "learning_rate": 0.1, "min_samples_leaf": 10},
        "mlp": {
            "hidden": 128,
            "layers": 1,
            "dropout": 0.2,
            "epochs": 40,
            "patience": 10,
            "batch_size": 64,
            "weight_decay": 0.1,
        },
    }
)
"""Changes of the defaults at which a search over a table begins."""
