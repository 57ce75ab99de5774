"""Golden answers: what a version answered when it was made, with all that those answers need.

The answers come from three kinds of inputs:
- real rows of the fit, with their recorded scores and the context that they had;
- rows made to reach what real ones seldom do: nothing known beside the features, features far
  outside the training range, and scores that favour each class in turn;
- real scores and features beside a context that is computed from stored bars each time, so that a
  changed sigma shows as well.

Each is answered as a request (`decode`) and as a row of a table (`decode_frame`). The trade lock
counts as open: gates are recorded and judged elsewhere, and behind a shut lock every signal would
be HOLD. `registry.golden_answers` compares, and says what a difference means.
"""

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.method.rows import prefixed
from pipelines.recipes.inputs import InputKind, kind_of, spread_evenly
from pipelines.templates import TEMPLATES, Arrays, Template
from pipelines.templates.answer_fields import as_json, has_open_fields
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import GoldenAnswersError, MLEngineError
from registry.gates import COMMON, GateRow
from registry.golden_answers import GATE, GoldenAnswers, n_answers, shown
from registry.version_files import ANSWERS_FILE, VersionFiles

N_REAL, N_COMPUTED = 16, 8
FEWEST_BARS = 128
"""Length of the stored history, where one prediction does not need more."""
MOST_FAVOURED = 8
"""Scores that a made row favours; with more (scenarios) they are no classes."""
FAR = 1e3
"""How many times the largest feature lies outside the training range."""
CONTEXT, HISTORY = "context.", "history."


@dataclass(frozen=True, slots=True)
class AnswerInputs:
    """What golden answers are decoded from.

    `scores`: float32 (n, n_scores); `features`: float32 (n, n_features), the newest step;
    `context`: float64 (n,) each; `history`: arrays from which the context of `N_COMPUTED` further
    answers is computed, which use the first scores and features again.
    """

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    context: Arrays
    history: Arrays


def n_history(contract: ModelContract) -> int:
    """Return the number of bars of which the history is stored."""
    return max(contract.min_history, FEWEST_BARS) + N_COMPUTED


def inputs_of(
    features: NDArray[np.float32],
    scores: NDArray[np.float32],
    context: Arrays,
    history: Arrays,
) -> AnswerInputs:
    """Return the inputs of golden answers, from real rows.

    Args:
        features: newest step (n, n_features).
        scores: of these rows, (n, n_scores).
        context: of these rows, (n,) each.
        history: as `InputKind.history` gives it.
    """
    real = spread_evenly(len(scores), N_REAL)
    first = np.zeros(2, dtype=np.intp)
    favoured = _favoured(scores)
    far = np.full((1, features.shape[1]), FAR * max(1.0, _largest(features)), dtype=np.float32)
    rows = np.concatenate([real, first, np.zeros(len(favoured), dtype=np.intp)])
    made = {name: values[rows].astype(np.float64) for name, values in context.items()}
    for values in made.values():
        values[len(real)] = np.nan
    return AnswerInputs(
        np.concatenate([scores[real], scores[first], favoured]),
        np.concatenate([features[real], features[:1], far, features[rows[len(real) + 2 :]]]),
        made,
        history,
    )


def answers_file(
    template: Template, contract: ModelContract, decoder: Decoder, inputs: AnswerInputs
) -> bytes:
    """Return the content of `ANSWERS_FILE`: the inputs, and what this code answers."""
    answers = answered(template, contract, decoder, inputs)
    buffer = io.BytesIO()
    stored: dict[str, NDArray[np.generic]] = {
        "scores": inputs.scores,
        "features": inputs.features,
        **{CONTEXT + name: values for name, values in inputs.context.items()},
        **{HISTORY + name: values for name, values in inputs.history.items()},
        "answers": np.frombuffer(json.dumps(answers, allow_nan=False).encode(), dtype=np.uint8),
    }
    np.savez_compressed(buffer, allow_pickle=False, **stored)
    return buffer.getvalue()


def golden_answers(files: VersionFiles) -> GoldenAnswers:
    """Return what a version answered when it was made, and what this code answers for it.

    Raises:
        ArtifactError: a file is not what was registered.
        GoldenAnswersError: this code cannot answer.
    """
    contract, decoder = files.contract, files.decoder
    with np.load(io.BytesIO(files.read(ANSWERS_FILE)), allow_pickle=False) as stored:
        arrays = dict(stored)
    recorded = json.loads(arrays["answers"].tobytes())
    inputs = AnswerInputs(
        arrays["scores"],
        arrays["features"],
        prefixed(arrays, CONTEXT),
        prefixed(arrays, HISTORY),
    )
    try:
        now = answered(TEMPLATES.get(contract.template), contract, decoder, inputs)
    except MLEngineError as exc:
        raise GoldenAnswersError(contract.template, str(exc)) from exc
    except Exception as exc:  # of a template's code, changed since; whatever it is, it is no answer
        raise GoldenAnswersError(contract.template, f"{type(exc).__name__}: {exc}") from exc
    return GoldenAnswers(tuple(recorded), tuple(now))


def answered(
    template: Template, contract: ModelContract, decoder: Decoder, inputs: AnswerInputs
) -> list[Json]:
    """Return the answer to each of the inputs as callers get it, alone and as columns."""
    scores, features, context = _together(kind_of(template), template, inputs)
    rows = (scores, features, context, decoder, contract)
    is_asked_for = has_open_fields(template.answer_kinds)
    with np.errstate(all="ignore"):  # far features overflow, which is what they are for
        alone: list[Json] = [as_json(answer) for answer in template.decode(*rows)]
        return alone if is_asked_for else [*alone, *template.decode_frame(*rows).to_dicts()]


def answers_gate(files: VersionFiles) -> GateRow:
    """Return how many of a version's golden answers this code changes; the limit is none."""
    golden = golden_answers(files)
    found = golden.changes
    note = f"{len(golden.recorded)} answers of the train run, decoded again from its files"
    note += f": {shown(found)}" if found else ""
    return COMMON.row(GATE, float(n_answers(found)), note)


def _together(
    kind: InputKind, template: Template, inputs: AnswerInputs
) -> tuple[NDArray[np.float32], NDArray[np.float32], Arrays]:
    """Return scores, features and context, those computed from the history last."""
    if not inputs.history:
        return inputs.scores, inputs.features, inputs.context
    computed = kind.context_of(template, inputs.history)
    n = min(N_COMPUTED, len(inputs.scores), *(len(v) for v in computed.values()))
    then, newest = np.full(len(inputs.scores), np.nan), np.full(n, np.nan)
    context = {
        name: np.concatenate([inputs.context.get(name, then), computed.get(name, newest)[-n:]])
        for name in dict.fromkeys((*inputs.context, *computed))
    }
    scores = np.concatenate([inputs.scores, inputs.scores[:n]])
    return scores, np.concatenate([inputs.features, inputs.features[:n]]), context


def _favoured(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first row's scores with each in turn far above and far below all others."""
    n_scores = scores.shape[1]
    if not 1 <= n_scores <= MOST_FAVOURED:
        return scores[:0]
    step = np.float32(1.0 + 3.0 * float(np.ptp(scores)))
    away = step * np.eye(n_scores, dtype=np.float32)
    return np.concatenate([scores[:1] + away, scores[:1] - away])


def _largest(features: NDArray[np.float32]) -> float:
    known = np.abs(features[np.isfinite(features)])
    return min(float(known.max(initial=0.0)), float(np.finfo(np.float32).max) / (2 * FAR))
