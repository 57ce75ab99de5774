"""Predictions as the prediction log takes them: columns, one row per answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import time_ns

import numpy as np
from numpy.typing import NDArray

from monitoring.prediction_rows import MOST_SCORES, LoggedPredictions
from pipelines.data.bars import from_microseconds
from pipelines.recipes.inputs import kind_of
from serving.computation import Computation
from serving.loading import LoadedVersion


@dataclass(slots=True, eq=False)
class Served:
    """A request that was answered: its id, how long it took, and the keys of its answers."""

    request_id: str
    latency_ms: float
    keys: Sequence[str]


def logged(
    found: Computation, version: LoadedVersion, requests: Sequence[Served]
) -> LoggedPredictions:
    """Return the answers of a model call with what they were made from, for the prediction log.

    Each request has a row per answer. Of kinds of input without times a row is logged with the
    time of the request, one microsecond after another.
    """
    served_us, model_input, option = time_ns() // 1000, found.model_input, found.route.option
    kind = kind_of(version.template)
    ids, latencies, symbols = _by_row(requests)
    features, n_logged = model_input.newest_step, kind.n_logged(version.contract)
    if n_logged < features.shape[1]:
        features = features[:, :n_logged]
    scores, provenance = found.scores, model_input.provenance
    if tuple(symbols) != model_input.keys:  # one of them has an error, or two asked for the same
        place = {key: i for i, key in enumerate(model_input.keys)}
        rows = [place[key] for key in symbols]
        features, scores = features[rows], scores[rows]
        provenance = tuple(provenance[i] for i in rows)
    times: list[datetime | None] = [source.as_of for source in provenance]
    if not kind.has_times:
        times = [from_microseconds(served_us + i) for i in range(len(symbols))]
    return LoggedPredictions(
        request_ids=ids,
        served_us=served_us,
        latencies_ms=latencies,
        model_id=version.model_id,
        version=version.number,
        flavor=option.flavor,
        backend=option.backend,
        source_kind=model_input.form,
        symbols=symbols,
        as_of=times,
        features=features,
        scores=scores,
        answers=[found.answers[key] for key in symbols],
        is_sample=_is_sample(version, found.scores),
    )


def _by_row(requests: Sequence[Served]) -> tuple[list[str], list[float], Sequence[str]]:
    """Return request id, milliseconds and key of each row."""
    if len(requests) == 1:
        (one,) = requests
        return [one.request_id] * len(one.keys), [one.latency_ms] * len(one.keys), one.keys
    return (
        [request.request_id for request in requests for _ in request.keys],
        [request.latency_ms for request in requests for _ in request.keys],
        [key for request in requests for key in request.keys],
    )


def _is_sample(version: LoadedVersion, scores: NDArray[np.float32]) -> bool:
    if scores.shape[1] <= MOST_SCORES:  # kept whole, whatever they are
        return False
    return version.template.objective(version.contract.label_spec).is_sample
