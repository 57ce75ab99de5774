"""Predictions as the prediction log takes them: one row per answer."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes.reference import n_logged_features
from serving.batch import Batch
from serving.loading import LoadedVersion
from serving.router import Option

MICROSECOND = timedelta(microseconds=1)
ALONE = ("table", "texts")
"""Inputs whose rows have no time of their own: what is logged as theirs is when they were asked,
one microsecond after another."""


def log_rows(
    batch: Batch,
    scores: NDArray[np.float32],
    answers: Mapping[str, Mapping[str, Any]],
    version: LoadedVersion,
    option: Option,
) -> list[dict[str, Any]]:
    """Return one row per answer, columns as `monitoring.prediction_log.SCHEMA` names them.

    `request_id` and `latency_ms` belong to the whole request and are added by the engine.
    """
    served_at = datetime.now(UTC)
    stand_alone = version.template.inputs in ALONE
    features = batch.newest_step[:, : n_logged_features(version.contract)]
    return [
        {
            "served_at": served_at,
            "as_of": served_at + i * MICROSECOND if stand_alone else batch.provenance[i].as_of,
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
