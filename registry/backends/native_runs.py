"""Native runs: each native format executed by its own library, or by numpy.

A run takes float32 features and gives float32 scores; dtype, shape and empty batches are the
backend's business. Libraries are imported when a format of theirs is loaded, so a machine that
serves boosted trees needs no torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from registry.contract import ModelContract
from registry.errors import UnreadableArtifactError
from registry.flavors.arrays import open_arrays
from registry.flavors.programs import open_program
from registry.flavors.trees.catboost import catboost_features, open_catboost
from registry.flavors.trees.lightgbm import open_lightgbm
from registry.flavors.trees.xgboost import open_booster

if TYPE_CHECKING:
    from torch import nn

THREADS = 1
"""Threads of a library during a call. A second one halves the time of a large batch of trees on
an idle machine, but on a busy one threads spin while they wait for each other, and one row takes
many times longer."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _load_arrays(payload: bytes, contract: ModelContract) -> Run:
    model = open_arrays(payload)
    _expect_rows(model.row_shape, contract)
    return model


def _load_catboost(payload: bytes, contract: ModelContract) -> Run:
    model = open_catboost(payload)
    _expect_rows((len(model.feature_names_),), contract)
    categorical = [int(column) for column in model.get_cat_feature_indices()]

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        known = catboost_features(features, categorical)
        scores = model.predict(known, prediction_type="RawFormulaVal", thread_count=THREADS)
        return np.asarray(scores, np.float32).reshape(len(features), -1)

    return run


def _load_lightgbm(payload: bytes, contract: ModelContract) -> Run:
    booster = open_lightgbm(payload)
    _expect_rows((booster.num_feature(),), contract)

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = booster.predict(features, raw_score=True, num_threads=THREADS)
        return np.asarray(scores, np.float32).reshape(len(features), -1)

    return run


def _load_booster(payload: bytes, contract: ModelContract) -> Run:
    booster = open_booster(payload)
    _expect_rows((booster.num_features(),), contract)
    booster.set_param({"nthread": THREADS})

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = booster.inplace_predict(features, predict_type="margin", strict_shape=True)
        return np.asarray(scores, np.float32)

    return run


def _load_program(payload: bytes, _: ModelContract) -> Run:
    return torch_run(open_program(payload).module())


def torch_run(module: "nn.Module") -> Run:
    """Return a run of a torch module that is on the processor."""
    import torch

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        before = torch.get_num_threads()
        torch.set_num_threads(THREADS)
        try:
            with torch.inference_mode():
                return np.asarray(module(torch.tensor(features)).numpy(), np.float32)
        finally:
            torch.set_num_threads(before)

    return run


def _expect_rows(found: tuple[int, ...], contract: ModelContract) -> None:
    """Refuse a file that takes rows of another shape than the contract says."""
    wanted = contract.inputs.shape[1:]
    if found != wanted:
        cause = f"it takes rows of shape {found}, the contract says {wanted}"
        raise UnreadableArtifactError("native", cause)


NATIVE_RUNS: dict[str, Callable[[bytes, ModelContract], Run]] = {
    "arrays": _load_arrays,
    "catboost-cbm": _load_catboost,
    "lightgbm-txt": _load_lightgbm,
    "torch-export": _load_program,
    "xgboost-ubj": _load_booster,
}
