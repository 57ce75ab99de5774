"""Search ranges: where a search looks for an architecture's parameters.

They lie inside the validity ranges of `spaces`, which say what a caller may ask for: a bound of
infinity is valid, and no range to draw from. What no range names keeps its default. A caller's own
space may go up to the validity ranges (`pipelines/tuning/asked_space.py`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.contract import Json

POINTS = 5
"""Points that stand for a range in a grid."""


@dataclass(frozen=True, slots=True)
class When:
    """Draw a parameter only where another one of the same architecture has one of these values."""

    name: str
    values: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; drawn on a logarithmic scale where `is_log`.

    `points`: how many stand for it in a grid, spread evenly on its scale.
    """

    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False
    points: int = POINTS
    when: When | None = None

    def grid(self) -> tuple[Json, ...]:
        """Return the points of a grid, rising; fewer where whole numbers fall together."""
        if self.points == 1 or self.low == self.high:
            return (self._number(self.low),)
        to, back = (math.log, math.exp) if self.is_log else (float, float)
        low, high, last = to(self.low), to(self.high), self.points - 1
        inner = (back(low + (high - low) * i / last) for i in range(1, last))
        return tuple(dict.fromkeys(self._number(v) for v in (self.low, *inner, self.high)))

    def size(self) -> int:
        """Return the number of its points, without making them."""
        widest = int(self.high - self.low) + 1 if self.is_integer else self.points
        return 1 if self.low == self.high else min(self.points, widest)

    def holds(self, value: Json) -> bool:
        """Whether a value lies within the range; a whole one where the range is of those."""
        kinds = int if self.is_integer else int | float
        is_kind = isinstance(value, kinds) and not isinstance(value, bool)
        return is_kind and self.low <= value <= self.high  # type: ignore[operator]

    def _number(self, value: float) -> float:
        return round(value) if self.is_integer else float(value)


@dataclass(frozen=True, slots=True)
class Among:
    """One of a few values of one type."""

    values: tuple[Json, ...]
    when: When | None = None

    def grid(self) -> tuple[Json, ...]:
        """Return the values."""
        return self.values

    def size(self) -> int:
        """Return their number."""
        return len(self.values)

    def holds(self, value: Json) -> bool:
        """Whether the value is one of them."""
        return any(value == known and type(value) is type(known) for known in self.values)


Searched = Range | Among


def _whole(low: int, high: int, *, is_log: bool = False) -> Range:
    return Range(low, high, is_log=is_log, is_integer=True)


def _share(low: float, high: float = 1.0) -> Range:
    return Range(low, high)


def _scale(low: float, high: float) -> Range:
    return Range(low, high, is_log=True)


_LINEAR = {"alpha": _scale(1e-6, 10.0)}
_TRAINING: Mapping[str, Searched] = {
    "epochs": _whole(2, 16, is_log=True),
    "batch_size": Among((128, 256, 512, 1024)),
    "learning_rate": _scale(3e-4, 3e-2),
    "weight_decay": _scale(1e-4, 1.0),
}
_CELLS: Mapping[str, Searched] = {
    "hidden": Among((16, 32, 64)),
    "layers": _whole(1, 2),
    **_TRAINING,
}
_CODING: Mapping[str, Searched] = {
    "hidden": Among((16, 32, 64, 128)),
    "latent": _whole(2, 8),
    **_TRAINING,
}
_STATES = _whole(2, 4)
_SCENARIOS: Mapping[str, Searched] = {
    "horizon_rule": Among(("simulate", "square_root")),
    "window": _whole(250, 4000, is_log=True),
    "paths": Range(500, 10_000, True, True, when=When("horizon_rule", ("simulate",))),
}
_DECAY = {"decay": Range(0.88, 0.99)}

RANGES: Mapping[str, Mapping[str, Searched]] = MappingProxyType(
    {
        "xgboost": {
            "rounds": _whole(50, 600, is_log=True),
            "max_depth": _whole(2, 8),
            "eta": _scale(0.01, 0.3),
            "subsample": _share(0.3),
            "colsample_bytree": _share(0.3),
            "min_child_weight": _scale(1.0, 500.0),
            "lambda": _scale(1e-3, 100.0),
            "alpha": _scale(1e-3, 10.0),
        },
        "lightgbm": {
            "rounds": _whole(50, 600, is_log=True),
            "num_leaves": _whole(4, 128, is_log=True),
            "learning_rate": _scale(0.01, 0.3),
            "min_data_in_leaf": _whole(10, 500, is_log=True),
            "bagging_fraction": _share(0.3),
            "feature_fraction": _share(0.3),
            "lambda_l2": _scale(1e-3, 100.0),
            "lambda_l1": _scale(1e-3, 10.0),
        },
        "catboost": {
            "rounds": _whole(50, 600, is_log=True),
            "depth": _whole(2, 8),
            "learning_rate": _scale(0.01, 0.3),
            "l2_leaf_reg": _scale(0.1, 100.0),
            "subsample": _share(0.3),
            "rsm": _share(0.3),
            "random_strength": _scale(0.1, 10.0),
        },
        "gradient_boosting": {
            "rounds": _whole(50, 600, is_log=True),
            "learning_rate": _scale(0.01, 0.3),
            "max_leaf_nodes": _whole(4, 128, is_log=True),
            "min_samples_leaf": _whole(10, 500, is_log=True),
            "l2_regularization": _scale(1e-3, 100.0),
            "max_features": _share(0.3),
        },
        "random_forest": {
            "n_estimators": _whole(100, 600, is_log=True),
            "max_depth": _whole(3, 16),
            "min_samples_leaf": _whole(5, 500, is_log=True),
            "max_features": _share(0.1),
            "max_samples": _share(0.3),
        },
        "ridge": _LINEAR,
        "lasso": {"alpha": _scale(1e-5, 1.0)},
        "elastic_net": {"alpha": _scale(1e-5, 1.0), "l1_ratio": _share(0.05, 0.95)},
        "logistic": _LINEAR,
        "kmeans": {"n_states": _STATES},
        "dbscan": {"n_states": _STATES},
        "hmm": {
            "n_states": _STATES,
            "covariance": Among(("full", "diag")),
            "newest_rows": Among((2_500, 5_000, 10_000)),
        },
        "isolation_forest": {
            "n_estimators": _whole(100, 400, is_log=True),
            "max_samples": _whole(64, 1024, is_log=True),
        },
        "mlp": {
            "hidden": Among((16, 32, 64, 128)),
            "layers": _whole(1, 3),
            "dropout": _share(0.0, 0.5),
            **_TRAINING,
        },
        "rnn": _CELLS,
        "lstm": _CELLS,
        "gru": _CELLS,
        "tcn": {
            "hidden": Among((8, 16, 24, 48)),
            "layers": _whole(2, 5),
            "kernel": _whole(2, 5),
            "dropout": _share(0.0, 0.5),
            **_TRAINING,
        },
        "transformer": {  # every number of heads divides every width
            "hidden": Among((16, 32, 64)),
            "heads": Among((1, 2, 4, 8)),
            "layers": _whole(1, 3),
            "dropout": _share(0.0, 0.5),
            **_TRAINING,
        },
        "autoencoder": _CODING,
        "lstm_autoencoder": _CODING,
        "lexicon": {"sharpness": _scale(0.5, 20.0), "neutral": Range(-2.0, 4.0)},
        "pretrained_text": {},
        "historical": _SCENARIOS,
        "ewma_fhs": {**_SCENARIOS, **_DECAY},
        "gjr_garch_fhs": _SCENARIOS,
        "student_t_mc": {**_SCENARIOS, **_DECAY},
    }
)

SEQUENCE_NETWORKS = ("rnn", "lstm", "gru", "tcn", "transformer", "lstm_autoencoder")
"""Networks over windows, whose fits take minutes: searched where a caller names them."""
CHEAP_FIRST = (
    *("ridge", "lasso", "elastic_net", "logistic", "lightgbm", "mlp", "xgboost"),
    *("catboost", "random_forest", "gradient_boosting"),
)
"""Architectures by what a fit of their defaults costs, the cheapest first; others come after."""
WINDOW_LENGTHS = (16, 32, 64)
WINDOWED = frozenset({*SEQUENCE_NETWORKS, "hmm"})
"""Architectures that take windows."""

OF_STATES: Mapping[str, Mapping[str, Searched]] = MappingProxyType(
    {
        name: {
            "clustering": Among(("kmeans", "dbscan")),
            "n_states": Range(2, 4, is_integer=True, when=When("clustering", ("kmeans",))),
        }
        for name in ("autoencoder", "lstm_autoencoder")
    }
)
"""Further ranges where states are looked for."""


def ranges_of(name: str, loss: str) -> dict[str, Searched]:
    """Return the declared ranges of an architecture that is fitted for a loss.

    None for an architecture that declares none here: its defaults are tried.
    """
    found = dict(RANGES.get(name, {}))
    return found | dict(OF_STATES.get(name, {}) if loss == "states" else {})
