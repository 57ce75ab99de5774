"""Predictions as the prediction log takes them: one row per answer."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes.inputs import kind_of
from serving.batch import Batch
from serving.loading import LoadedVersion
from serving.router import Option

MICROSECOND = timedelta(microseconds=1)


def log_rows(
    batch: Batch,
    scores: NDArray[np.float32],
    answers: Mapping[str, Mapping[str, Any]],
    version: LoadedVersion,
    option: Option,
) -> list[dict[str, Any]]:
    """Return one row per answer, columns as `monitoring.prediction_log.SCHEMA` names them.

    A row without a time of its own is logged with the time of the request, one microsecond after
    another. The engine adds `request_id` and `latency_ms`, which belong to the whole request.
    """
    served_at = datetime.now(UTC)
    kind = kind_of(version.template)
    features = batch.newest_step[:, : kind.n_logged(version.contract)]
    return [
        {
            "served_at": served_at,
            "as_of": batch.provenance[i].as_of if kind.has_times else served_at + i * MICROSECOND,
            "model_id": version.model_id,
            "version": version.number,
            "flavor": option.flavor,
            "backend": option.backend,
            "symbol": key,
            "features": features[i].tolist(),
            "scores": scores[i].tolist(),
            "answer": json.dumps(answers[key], default=str),
            "source_kind": batch.form,
        }
        for i, key in enumerate(batch.keys)
        if key in answers
    ]
