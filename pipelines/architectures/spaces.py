"""Spaces: the parameters of every architecture here, with their defaults and ranges.

They stand apart from the algorithms, so that whoever only asks whether a request can be fitted
imports no library. An architecture of another distribution declares its own
(`Architecture.parameters`).
"""

from collections.abc import Mapping
from types import MappingProxyType

from pipelines.architectures.hyperparameters import Choice, Number, Space, Text

CLUSTERINGS = ("kmeans", "dbscan")
MOST_CLUSTERS = 6
MOST_STATES = 4

_THREADS: Space = {"nthread": Number(2, 1, 64, is_integer=True)}
_CLUSTERS: Space = {"n_states": Number(0, 0, MOST_CLUSTERS, is_integer=True)}
"""0 leaves the number to the data."""

_LINEAR: Space = {
    "scaling": Choice("standard", ("standard", "idf", "none")),
    "max_iter": Number(5000, 1, 1_000_000, is_integer=True),
    "tol": Number(1e-6, 1e-12, 1.0),
    **_THREADS,
}
_TRAINING: Space = {
    "epochs": Number(4, 1, 1000, is_integer=True),
    "patience": Number(2, 1, 1000, is_integer=True),
    "batch_size": Number(512, 8, 65_536, is_integer=True),
    "learning_rate": Number(0.003, 1e-6, 1.0),
    "weight_decay": Number(0.01, 0.0, 10.0),
    "clip_norm": Number(1.0, 1e-3),
    # steps of small networks are too short for two threads: on a busy machine they wait for each
    # other many times longer than they compute
    "nthread": Number(1, 1, 64, is_integer=True),
}
"""Parameters of the training loop, the same for every network."""
_CELLS: Space = {
    "hidden": Number(32, 1, 1024, is_integer=True),
    "layers": Number(1, 1, 4, is_integer=True),
    **_TRAINING,
}
_CODING: Space = {
    "hidden": Number(32, 1, 4096, is_integer=True),
    "latent": Number(4, 1, 512, is_integer=True),
    **_TRAINING,
    "epochs": Number(10, 1, 1000, is_integer=True),
}
_SCENARIOS: Space = {
    "window": Number(1000, 100, 100_000, is_integer=True),
    "paths": Number(2000, 100, 1_000_000, is_integer=True),
    "horizon_rule": Choice("simulate", ("simulate", "square_root")),
}
_DECAY: Space = {"decay": Number(0.94, 0.5, 0.9999)}

SPACES: Mapping[str, Space] = MappingProxyType(
    {
        "xgboost": {
            "rounds": Number(200, 1, 10_000, is_integer=True),
            "max_depth": Number(4, 1, 16, is_integer=True),
            "eta": Number(0.05, 1e-4, 1.0),
            "subsample": Number(0.5, 0.01, 1.0),
            "colsample_bytree": Number(0.7, 0.01, 1.0),
            "min_child_weight": Number(50.0, 0.0),
            "lambda": Number(1.0, 0.0),
            "alpha": Number(0.0, 0.0),
            "gamma": Number(0.0, 0.0),
            "max_bin": Number(256, 2, 4096, is_integer=True),
            "tree_method": Choice("hist", ("hist",)),
            **_THREADS,
        },
        "lightgbm": {
            "rounds": Number(200, 1, 10_000, is_integer=True),
            "num_leaves": Number(15, 2, 4096, is_integer=True),
            "max_depth": Number(-1, -1, 64, is_integer=True),
            "learning_rate": Number(0.05, 1e-4, 1.0),
            "min_data_in_leaf": Number(50, 1, 1_000_000, is_integer=True),
            "min_sum_hessian_in_leaf": Number(1e-3, 0.0),
            "bagging_fraction": Number(0.5, 0.01, 1.0),
            "feature_fraction": Number(0.7, 0.01, 1.0),
            "lambda_l2": Number(1.0, 0.0),
            "lambda_l1": Number(0.0, 0.0),
            "min_gain_to_split": Number(0.0, 0.0),
            "max_bin": Number(255, 2, 4096, is_integer=True),
            **_THREADS,
        },
        "catboost": {
            "rounds": Number(200, 1, 10_000, is_integer=True),
            "depth": Number(4, 1, 16, is_integer=True),
            "learning_rate": Number(0.05, 1e-4, 1.0),
            "l2_leaf_reg": Number(3.0, 0.0),
            "subsample": Number(0.5, 0.01, 1.0),
            "rsm": Number(0.7, 0.01, 1.0),
            "random_strength": Number(1.0, 0.0),
            "border_count": Number(254, 1, 65_535, is_integer=True),
            **_THREADS,
        },
        "gradient_boosting": {
            "rounds": Number(200, 1, 10_000, is_integer=True),
            "learning_rate": Number(0.05, 1e-4, 1.0),
            "max_leaf_nodes": Number(15, 2, 4096, is_integer=True),
            "min_samples_leaf": Number(50, 1, 1_000_000, is_integer=True),
            "l2_regularization": Number(1.0, 0.0),
            "max_features": Number(0.7, 0.01, 1.0),
            "max_bins": Number(255, 2, 255, is_integer=True),
            **_THREADS,
        },
        "random_forest": {
            "n_estimators": Number(200, 1, 10_000, is_integer=True),
            "max_depth": Number(8, 1, 32, is_integer=True),
            "min_samples_leaf": Number(20, 1, 1_000_000, is_integer=True),
            "max_features": Number(0.5, 0.01, 1.0),
            "max_samples": Number(0.7, 0.01, 1.0),
            **_THREADS,
        },
        "ridge": {"alpha": Number(1e-3, 0.0), **_LINEAR},
        "lasso": {"alpha": Number(1e-3, 0.0), **_LINEAR},
        "elastic_net": {
            "alpha": Number(1e-3, 0.0),
            "l1_ratio": Number(0.5, 0.0, 1.0),
            **_LINEAR,
        },
        "logistic": {"alpha": Number(1e-3, 1e-12), **_LINEAR},
        "kmeans": {**_CLUSTERS, **_THREADS},
        "dbscan": {**_CLUSTERS, **_THREADS},
        "hmm": {
            "n_states": Number(0, 0, MOST_STATES, is_integer=True),
            "covariance": Choice("full", ("full", "diag")),
            "restarts": Number(3, 1, 100, is_integer=True),
            "max_iter": Number(300, 1, 100_000, is_integer=True),
            "tol": Number(1e-4, 1e-12, 1.0),
            # expectation maximisation walks every row some hundred times from every start
            "newest_rows": Number(10_000, 100, 100_000_000, is_integer=True),
            **_THREADS,
        },
        "isolation_forest": {
            "n_estimators": Number(200, 1, 10_000, is_integer=True),
            "max_samples": Number(256, 2, 1_000_000, is_integer=True),
            **_THREADS,
        },
        "mlp": {
            "hidden": Number(64, 1, 4096, is_integer=True),
            "layers": Number(2, 1, 8, is_integer=True),
            "dropout": Number(0.0, 0.0, 0.9),
            **_TRAINING,
            "epochs": Number(8, 1, 1000, is_integer=True),
        },
        "rnn": _CELLS,
        "lstm": _CELLS,
        "gru": _CELLS,
        "tcn": {
            "hidden": Number(24, 1, 512, is_integer=True),
            "layers": Number(4, 1, 10, is_integer=True),
            "kernel": Number(3, 2, 16, is_integer=True),
            "dropout": Number(0.0, 0.0, 0.9),
            **_TRAINING,
        },
        "transformer": {
            "hidden": Number(32, 1, 1024, is_integer=True),
            "heads": Number(4, 1, 64, is_integer=True),
            "layers": Number(1, 1, 12, is_integer=True),
            "dropout": Number(0.0, 0.0, 0.9),
            **_TRAINING,
        },
        "autoencoder": _CODING,
        "lstm_autoencoder": _CODING,
        "lexicon": {
            "sharpness": Number(4.0, 0.1, 50.0),
            "neutral": Number(1.0, -10.0, 10.0),
        },
        "pretrained_text": {
            "directory": Text(is_path=True),
            "labels": Text(),
            "max_tokens": Number(128, 8, 4096, is_integer=True),
        },
        "historical": _SCENARIOS,
        "ewma_fhs": {**_SCENARIOS, **_DECAY},
        "gjr_garch_fhs": {**_SCENARIOS, "on_failure": Choice("error", ("error", "ewma"))},
        "student_t_mc": {**_SCENARIOS, **_DECAY},
    }
)

OF_STATES: Mapping[str, Space] = MappingProxyType(
    {
        name: {"clustering": Choice("kmeans", CLUSTERINGS), **_CLUSTERS}
        for name in ("autoencoder", "lstm_autoencoder")
    }
)
"""Further parameters where states are looked for."""


def space_of(name: str, loss: str) -> Space:
    """Return the parameters of an architecture of `SPACES` that is fitted for a loss."""
    return {**SPACES[name], **(OF_STATES.get(name, {}) if loss == "states" else {})}
