"""Texts of a request to a sentiment model -> features, or an error of that text."""

from typing import Any

import numpy as np

from registry.errors import MLEngineError, ParameterError, ShapeError
from serving.batch import Batch, Form, OnlineStore, Provenance
from serving.loading import LoadedVersion
from serving.schemas import PredictRequest

MAX_CHARACTERS = 20_000
"""Of one text; news stories are a tenth of that."""


def gather(
    request: PredictRequest, version: LoadedVersion, _online: OnlineStore, max_rows: int
) -> Batch:
    """Return the batch of a request with `texts`.

    Raises:
        ParameterError: no texts, one id twice, or an entry that is neither text nor {id, text}.
        ShapeError: none, or too many.
    """
    if request.texts is None:
        raise ParameterError("texts", None, f"texts, because {version.model_id} reads nothing else")
    if not 1 <= len(request.texts) <= max_rows:
        expected = f"1 to {max_rows} texts (MAX_BATCH_SIZE)"
        raise ShapeError("texts", expected, f"{len(request.texts)} texts")
    keys: list[str] = []
    texts: list[str] = []
    errors: dict[str, MLEngineError] = {}
    for i, entry in enumerate(request.texts):
        key, text = _split(entry, i)
        if key in errors or key in keys:
            raise ParameterError(f"texts[{i}].id", key, "each id once")
        if problem := _problem(text, i):
            errors[key] = problem
            continue
        keys.append(key)
        texts.append(text)
    X = np.ascontiguousarray(version.encoder.encode(texts), dtype=np.float32)
    provenance = (Provenance(),) * len(keys)
    context = {"coverage": version.encoder.coverage(texts)}
    return Batch(tuple(keys), X, context, provenance, errors, (), "texts")


def _split(entry: Any, number: int) -> tuple[str, Any]:
    """Return key and text of an entry; the key of a bare text is its number."""
    if not isinstance(entry, dict):
        return str(number), entry
    if set(entry) != {"id", "text"} or not isinstance(entry["id"], str) or not entry["id"]:
        found = ", ".join(sorted(map(str, entry)))
        raise ParameterError(f"texts[{number}]", found, "a text, or an object with id and text")
    return entry["id"], entry["text"]


def _problem(text: Any, number: int) -> MLEngineError | None:
    where = f"texts[{number}]"
    if not isinstance(text, str):
        return ParameterError(where, text, "a text")
    if not text.strip():
        return ParameterError(where, text, "a text with at least one letter")
    if len(text) > MAX_CHARACTERS:
        return ShapeError(where, f"at most {MAX_CHARACTERS} characters", str(len(text)))
    return None


FORM = Form(gather, own_fields=("texts",))
