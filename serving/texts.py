"""Texts of a request to a sentiment model -> features, or an error of that text."""

import numpy as np

from pipelines.recipes.inputs.texts import text_entry, text_problem
from registry.errors import MLEngineError, ParameterError, ShapeError
from serving.forms import Form, ModelInput, OnlineStore, Provenance
from serving.loading import LoadedVersion
from serving.schemas import PredictRequest


def gather(
    request: PredictRequest, version: LoadedVersion, _online: OnlineStore, max_rows: int
) -> ModelInput:
    """Return the model's input of a request with `texts`.

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
        key, text = text_entry(entry, i)
        if key in errors or key in keys:
            raise ParameterError(f"texts[{i}].id", key, "each id once")
        if problem := text_problem(text, f"texts[{i}]"):
            errors[key] = problem
            continue
        keys.append(key)
        texts.append(text)
    X = np.ascontiguousarray(version.encoder.encode(texts), dtype=np.float32)
    provenance = (Provenance(),) * len(keys)
    context = {"coverage": version.encoder.coverage(texts)}
    return ModelInput(tuple(keys), X, context, provenance, errors, (), "texts")


FORM = Form(gather, own_fields=("texts",))
