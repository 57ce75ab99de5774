"""Checks that every candidate passes before its quality is judged.

Each returns gate rows: data, golden rows, and whether the costs are those of a known instrument.
`causality` and `feature_parity` belong to the kind of input (`InputKind.checks`). The checks
compute everything again and trust no result of the train stage.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.method.agreement import difference
from pipelines.method.costs import unnamed
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.inputs import Dataset, InputKind
from pipelines.recipes.recipe import Recipe
from registry.backends import BACKENDS
from registry.flavors.native import NATIVE, native_path
from registry.gates import COMMON, TRADING_SIGNALS, GateRow


def data_checks(dataset: Dataset, kind: InputKind) -> GateRow:
    """Count the faults that make rows unfit to learn from; the limit is none.

    Args:
        kind: says which of it is in order for rows of its own.
    """
    rows = dataset.rows
    problems = []
    if np.isinf(rows.X).any() or (not kind.may_miss and np.isnan(rows.X).any()):
        problems.append("inputs that are not finite")
    if not np.isfinite(rows.y).all():
        problems.append("labels that are not finite")
    if np.ptp(rows.target) == 0:
        problems.append("constant labels")
    flat = rows.X.reshape(-1, rows.X.shape[-1])
    constant = 0 if kind.may_be_constant else int((np.ptp(flat, axis=0) == 0).sum())
    if constant:
        problems.append(f"{constant} constant features")
    if not (rows.t1 > rows.t0).all():
        problems.append("labels that end before they start")
    note = ", ".join(problems) or f"{len(rows)} rows, {len(dataset.data.repairs)} repairs"
    return COMMON.row("data.checks", float(len(problems)), note)


def named_costs(recipe: Recipe) -> tuple[GateRow, ...]:
    """Say whether the instrument whose costs are charged is known; nothing without actions."""
    if not recipe.template.is_action:
        return ()
    why = unnamed(recipe.options)
    note = why or f"costs of {recipe.options['instrument']}"
    return (TRADING_SIGNALS.row("edge.costs", None if why else 1.0, note),)


def golden_rows(
    candidate: Candidate, features: NDArray[np.float32], scores: NDArray[np.float32]
) -> GateRow:
    """Largest difference between the recorded scores and those of the stored native artifact."""
    worst = difference(scores, native_predictor(candidate)(features))
    note = f"{len(features)} rows through the stored native artifact"
    return COMMON.row("golden_rows", worst, note)


def native_predictor(
    candidate: Candidate,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Load the stored native artifact."""
    path = native_path(candidate.contract.native_format)
    files = {path: (candidate.directory / path).read_bytes()}
    return BACKENDS.get("cpu").load(NATIVE, files, candidate.contract)
