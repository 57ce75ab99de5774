"""Predictions as the prediction log takes them: columns, one row per answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.prediction_rows import MOST_SCORES, LoggedPredictions, times_of
from pipelines.data.bars import to_microseconds
from pipelines.recipes.inputs import kind_of
from serving.computation import Computation
from serving.loading import LoadedVersion


@dataclass(frozen=True, slots=True)
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
    served_at, model_input, option = datetime.now(UTC), found.model_input, found.route.option
    kind = kind_of(version.template)
    symbols = [key for request in requests for key in request.keys]
    place = {key: i for i, key in enumerate(model_input.keys)}
    rows = [place[key] for key in symbols]
    taken = slice(None) if len(requests) == 1 and len(rows) == len(place) else rows
    if kind.has_times:
        as_of = times_of([model_input.provenance[i].as_of for i in rows])
    else:
        as_of = to_microseconds(served_at) + np.array(rows, dtype=np.int64)
    return LoggedPredictions(
        request_ids=[request.request_id for request in requests for _ in request.keys],
        served_at=served_at,
        latencies_ms=[request.latency_ms for request in requests for _ in request.keys],
        model_id=version.model_id,
        version=version.number,
        flavor=option.flavor,
        backend=option.backend,
        source_kind=model_input.form,
        symbols=symbols,
        as_of=as_of,
        features=np.array(model_input.newest_step[taken, : kind.n_logged(version.contract)]),
        scores=np.array(found.scores[taken]),
        answers=[found.answers[key] for key in symbols],
        is_sample=_is_sample(version, found.scores),
    )


def _is_sample(version: LoadedVersion, scores: NDArray[np.float32]) -> bool:
    if scores.shape[1] <= MOST_SCORES:  # kept whole, whatever they are
        return False
    return version.template.objective(version.contract.label_spec).is_sample
