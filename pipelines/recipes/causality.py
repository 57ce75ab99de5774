"""Causality of answers: f(x[:t])[t] == f(x)[t] for scores and everything decoded from them.

A kind of input asks this of features and context. Here the whole way from data to answers is taken
twice: with all rows, and without those after t. Each time all rows go through the stored native
artifact in one batch. So a model that looks along its rows (a Viterbi path, a batch statistic) is
found.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import from_microseconds
from pipelines.method.agreement import difference
from pipelines.method.rows import LabelledRows, newest_step
from pipelines.recipes.inputs import Data, Dataset, InputKind, Predictor
from pipelines.recipes.recipe import Recipe
from pipelines.templates.answer_fields import as_json
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.gates import COMMON, GateRow

ROUNDING = 1e-5
"""Scores are float32, and a batch of another size sums in another order: differences up to this
share count as none."""
N_TIMES = 120
"""Decision times that are scored in one batch."""
N_CUTS = 3
N_COMPARED = 10
"""Decision times up to each cut that are compared."""


def answers_causality(
    kind: InputKind,
    recipe: Recipe,
    dataset: Dataset,
    contract: ModelContract,
    decoder: Decoder,
    predict: Predictor,
) -> GateRow:
    """Return the largest relative change of scores and answers when later data are taken away.

    Args:
        kind: the kind of the recipe's input, whose rows follow each other in time.
        predict: the stored native artifact, (n, ...) inputs -> (n, n_scores) scores.
    """
    times = np.unique(dataset.data.times().to_physical().to_numpy())
    first = times[max(0, len(times) - contract.min_history - N_TIMES)]
    recent = dataset.data.between(from_microseconds(int(first)), None)

    def rows_of(data: Data) -> LabelledRows:
        return kind.rows(recipe, data, dataset.label_spec, keep_unlabelled=True)

    everything = rows_of(recent)
    worst = 0.0
    for cut in _cuts(np.unique(everything.t0)):
        past = rows_of(recent.between(None, from_microseconds(cut)))
        pair = _same(everything, past)
        worst = max(worst, _difference(recipe, contract, decoder, predict, pair))
    note = (
        f"scores and answers, f(x[:t])[t] against f(x)[t], {N_COMPARED} times before each of "
        f"{N_CUTS} cuts; float32 rounding up to {ROUNDING:g} of a score is ignored"
    )
    return COMMON.row("causality", worst, note)


def worse(one: GateRow, other: GateRow) -> GateRow:
    """Join two rows of the same gate and limit: the larger value, both notes.

    A value that was not computed is the worse one.
    """
    values = [row.value for row in (one, other) if row.value is not None]
    value = max(values) if len(values) == 2 else None
    return replace(one, value=value, note=f"{one.note}; {other.note}")


Pair = tuple[LabelledRows, LabelledRows, NDArray[np.intp], NDArray[np.intp]]


def _cuts(times: NDArray[np.int64]) -> Iterator[int]:
    low, high = min(N_COMPARED, len(times) - 1), max(len(times) - 1, 1)
    for position in np.random.default_rng(0).integers(low, max(high, low + 1), N_CUTS):
        yield int(times[position])


def _same(everything: LabelledRows, past: LabelledRows) -> Pair:
    """Return both with the places of the rows of the newest times that both have."""
    newest = np.unique(past.t0)[-N_COMPARED:][0]
    here = np.flatnonzero(past.t0 >= newest)
    symbols = np.array(everything.symbols)
    place = {(t, symbols[s]): i for i, (t, s) in enumerate(_keys(everything))}
    names = np.array(past.symbols)
    keys = list(_keys(past))
    there = [place[keys[i][0], names[keys[i][1]]] for i in here]
    return everything, past, np.array(there, dtype=np.intp), here


def _keys(rows: LabelledRows) -> Iterator[tuple[int, int]]:
    return zip(rows.t0.tolist(), rows.symbol.tolist(), strict=True)


def _difference(
    recipe: Recipe, contract: ModelContract, decoder: Decoder, predict: Predictor, pair: Pair
) -> float:
    everything, past, there, here = pair
    scores = predict(everything.X)[there]
    gap = difference(scores, predict(past.X)[here])
    if gap > ROUNDING:
        return gap
    # the same scores for both: what is left is what decoding takes from features and context
    answers = [
        _decoded(recipe, contract, decoder, rows.take(at), scores)
        for rows, at in ((everything, there), (past, here))
    ]
    whole, cut = ([*_leaves(answer)] for answer in answers)
    if [kind for kind, _ in whole] != [kind for kind, _ in cut]:
        return float("inf")
    values = [np.array([value for _, value in leaves]) for leaves in (whole, cut)]
    return difference(*values)


def _decoded(
    recipe: Recipe,
    contract: ModelContract,
    decoder: Decoder,
    rows: LabelledRows,
    scores: NDArray[np.float32],
) -> list[dict[str, Any]]:
    found = recipe.template.decode(scores, newest_step(rows.X), rows.context, decoder, contract)
    return [as_json(answer) for answer in found]


def _leaves(value: Any) -> Iterator[tuple[str, float]]:
    """Yield every leaf of an answer: numbers as such, anything else as text with the number 0."""
    if isinstance(value, dict):
        for name in sorted(value):
            yield from _leaves(value[name])
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, float | int) and not isinstance(value, bool):
        yield "number", float(value)
    else:
        yield repr(value), 0.0
