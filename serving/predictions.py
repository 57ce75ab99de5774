"""Predictions as the prediction log takes them: columns, one row per answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.prediction_rows import MOST_SCORES, LoggedPredictions, times_of
from pipelines.data.bars import to_microseconds
from pipelines.recipes.inputs import kind_of
from serving.forms import ModelInput
from serving.loading import LoadedVersion
from serving.router import Option


@dataclass(frozen=True, slots=True)
class Served:
    """How a request was answered."""

    request_id: str
    latency_ms: float
    option: Option


def logged(
    model_input: ModelInput,
    scores: NDArray[np.float32],
    answers: Mapping[str, Mapping[str, Any]],
    version: LoadedVersion,
    served: Served,
) -> LoggedPredictions:
    """Return the answers of a request with what they were made from, for the prediction log.

    Rows without an answer are left out. Of kinds of input without times a row is logged with the
    time of the request, one microsecond after another.
    """
    served_at, contract = datetime.now(UTC), version.contract
    kind = kind_of(version.template)
    rows = [i for i, key in enumerate(model_input.keys) if key in answers]
    place = slice(None) if len(rows) == len(model_input.keys) else rows
    if kind.has_times:
        as_of = times_of([model_input.provenance[i].as_of for i in rows])
    else:
        as_of = to_microseconds(served_at) + np.array(rows, dtype=np.int64)
    symbols = [model_input.keys[i] for i in rows]
    return LoggedPredictions(
        request_id=served.request_id,
        served_at=served_at,
        latency_ms=served.latency_ms,
        model_id=version.model_id,
        version=version.number,
        flavor=served.option.flavor,
        backend=served.option.backend,
        source_kind=model_input.form,
        symbols=symbols,
        as_of=as_of,
        features=np.array(model_input.newest_step[place, : kind.n_logged(contract)]),
        scores=np.array(scores[place]),
        answers=[answers[key] for key in symbols],
        is_sample=_is_sample(version, scores),
    )


def _is_sample(version: LoadedVersion, scores: NDArray[np.float32]) -> bool:
    if scores.shape[1] <= MOST_SCORES:  # kept whole, whatever they are
        return False
    return version.template.objective(version.contract.label_spec).is_sample
