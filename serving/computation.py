"""Computation: a request by one model call, from what was asked to answers by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.templates.answer_fields import as_json
from registry.errors import MLEngineError, ValueRangeError
from serving.forms import ModelInput, OnlineStore, gather
from serving.loading import LoadedVersion
from serving.router import Route, choose
from serving.schemas import PredictRequest

Answers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Computation:
    """One model call, for one request or for several: input, scores, by key an answer or an error.

    `seconds` is how long it took.
    """

    model_input: ModelInput
    scores: NDArray[np.float32]
    answers: Answers
    errors: Mapping[str, MLEngineError]
    route: Route
    seconds: float

    @property
    def whole(self) -> "Part":
        """What a request is told that asked for all of it."""
        return Part(self.answers, self.errors, self.model_input.unseen)

    def part(self, keys: Sequence[str]) -> "Part":
        """Return what a request is told that asked for some keys."""
        return Part(
            {key: self.answers[key] for key in keys if key in self.answers},
            {key: self.errors[key] for key in keys if key in self.errors},
            tuple(key for key in self.model_input.unseen if key in keys),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What one request is told: by key an answer or an error, and the keys unseen in training."""

    answers: Answers
    errors: Mapping[str, MLEngineError]
    unseen: tuple[str, ...]


def compute(
    request: PredictRequest, version: LoadedVersion, online: OnlineStore, max_rows: int
) -> Computation:
    """Return the answers of a version to a request.

    Raises:
        MLEngineError: the request as a whole cannot be answered.
    """
    began = perf_counter()
    model_input = gather(request, version, online, max_rows)
    n_rows = max(1, len(model_input.keys))
    route = choose(version.options, n_rows, request.wanted_backend, request.strict)
    scores = _scores(model_input, version, route)
    answers, errors = _decoded(model_input, scores, version)
    errors = {**model_input.errors, **errors}
    return Computation(model_input, scores, answers, errors, route, perf_counter() - began)


def _scores(model_input: ModelInput, version: LoadedVersion, route: Route) -> NDArray[np.float32]:
    if not model_input.keys:
        return np.empty((0, version.contract.outputs.shape[1] or 0), dtype=np.float32)
    return route.option.predictor(model_input.X)


def _decoded(
    model_input: ModelInput, scores: NDArray[np.float32], version: LoadedVersion
) -> tuple[Answers, dict[str, MLEngineError]]:
    """Return the answers of the rows with finite scores, and an error for every other row."""
    usable = np.isfinite(scores).all(axis=1)
    errors: dict[str, MLEngineError] = {
        model_input.keys[i]: ValueRangeError("scores", str(scores[i].tolist()), "finite scores")
        for i in np.flatnonzero(~usable)
    }
    rows = np.flatnonzero(usable)
    if not len(rows):
        return {}, errors
    taken: slice | NDArray[np.intp] = rows if errors else slice(None)
    decoded = version.template.decode(
        scores[taken],
        model_input.newest_step[taken],
        {name: values[taken] for name, values in model_input.context.items()},
        version.decoder,
        version.contract,
        version.refusals,
    )
    answers = {}
    for i, answer in zip(rows, decoded, strict=True):
        source = model_input.provenance[i]
        answers[model_input.keys[i]] = as_json(answer) | {
            "as_of": source.as_of,
            "history_end": source.history_end,
            "price_basis": source.price_basis,
        }
    return answers, errors
