"""Score registered versions on labelled data, as they were registered.

This is the one way to judge a version after it was made. The challenge of a retraining run and the
comparison after a promotion both use it, so that they cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.statistics import mean_per_date
from pipelines.recipes.inputs import Data, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES, Template
from registry.backends import BACKENDS
from registry.decoder import Decoder
from registry.flavors.native import NATIVE
from registry.version_files import VersionFiles


def score(version: VersionFiles, data: Data, window: LabelledRows) -> NDArray[np.float64]:
    """Return a version's loss on the rows of the window, in their order.

    The version computes its own inputs from the data with its own label; a row that it cannot
    answer is NaN. The loss is in the units of the window's rows.
    """
    contract = version.contract
    template = TEMPLATES.get(contract.template)
    predictor = BACKENDS.get("cpu").load(NATIVE, version.read_artifact(NATIVE), contract)
    kind = kind_of(template)
    rows = kind.rows(Recipe.of_contract(contract), data, dict(contract.label_spec))
    position = {key: i for i, key in enumerate(_keys(rows))}
    index = np.array([position.get(key, -1) for key in _keys(window)], dtype=np.intp)
    there = index >= 0
    found = rows.take(index[there])
    loss = np.full(len(window), np.nan)
    constants = kind.constants(window.spec, len(found))
    found = replace(found, context={**found.context, **constants})
    loss[there] = template.loss(found, predictor(found.X), version.decoder)
    return loss


def out_of_fold_losses(
    template: Template, oof: OutOfFold, decoders: Mapping[int, Decoder]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return loss and baseline loss of each row, (n,) each, by the decoder of its fold."""
    loss, baseline = np.empty(len(oof.rows)), np.empty(len(oof.rows))
    for fold in np.unique(oof.fold):
        mine, decoder = oof.fold == fold, decoders[int(fold)]
        part = oof.take(mine)
        loss[mine] = template.loss(part.rows, part.scores, decoder)
        baseline[mine] = template.baseline_loss(part.rows, decoder)
    return loss, baseline


def per_time(
    rows: LabelledRows, *losses: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Average losses over symbols at each bar time, rows that any loss lacks left out.

    Returns:
        Times (n_times,), and means (n_losses, n_times).
    """
    stacked = np.stack(losses)
    there = np.isfinite(stacked).all(axis=0)
    t0 = rows.t0[there]
    return np.unique(t0), np.stack([mean_per_date(loss, t0) for loss in stacked[:, there]])


def _keys(rows: LabelledRows) -> list[tuple[int, str]]:
    names = np.array(rows.symbols)[rows.symbol]
    return list(zip(rows.t0.tolist(), names.tolist(), strict=True))
