"""Thresholds: where a model of trees changes its mind, for tests at exactly these values."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnsupportedModelError
from registry.flavors import NativeModel
from registry.flavors.arrays import open_arrays
from registry.flavors.arrays.forest import Forest
from registry.flavors.trees import TreeEnsemble
from registry.flavors.trees.catboost import read_catboost
from registry.flavors.trees.lightgbm import read_lightgbm
from registry.flavors.trees.xgboost import read_xgboost

Splits = tuple[NDArray[np.int64], NDArray[np.float32]]
_READERS: dict[str, Callable[[bytes, str], TreeEnsemble]] = {
    "catboost-cbm": read_catboost,
    "lightgbm-txt": read_lightgbm,
    "xgboost-ubj": read_xgboost,
}


def split_points(native: NativeModel) -> Splits:
    """Return feature and threshold of every different split; none where there are no trees.

    Trees that only their own library can hold have none either.
    """
    none = np.empty(0, np.int64), np.empty(0, np.float32)
    if native.format == "arrays":
        model = open_arrays(native.payload)
        return _different(model.splits()) if isinstance(model, Forest) else none
    if native.format not in _READERS:
        return none
    try:
        trees = _READERS[native.format](native.payload, "native")
    except UnsupportedModelError:
        return none
    return _different((trees.feature[~trees.is_leaf], trees.value[~trees.is_leaf]))


def _different(splits: Splits) -> Splits:
    features, values = splits
    pairs = np.unique(np.stack([features.astype(np.float64), values.astype(np.float64)]), axis=1)
    return pairs[0].astype(np.int64), pairs[1].astype(np.float32)
