"""Engine: one prediction request from body to answer.

Resolve the version, gather the model's input, choose (flavor, backend), execute, decode, log.
What computes runs in an executor (`serving.executor`), on the event loop only when it is known to
be quicker than the way to a thread. The prediction log never delays an answer.
"""

import asyncio
from collections.abc import Hashable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.prediction_log import PredictionLog
from pipelines.templates.answer_fields import as_json
from registry.alias_rows import PRODUCTION
from registry.errors import MLEngineError, TimeLimitError, ValueRangeError
from serving.errors import code_of, entry_of
from serving.executor import Executor
from serving.forms import FORMS, ModelInput, OnlineStore, gather
from serving.loading import LoadedVersion
from serving.metrics import Metrics
from serving.models import Models
from serving.predictions import Served, logged
from serving.router import Route, choose
from serving.schemas import ErrorEntry, PredictRequest, PredictResponse
from serving.settings import ServingSettings


class Engine:
    """Answers prediction requests. Owned by the application, which closes it."""

    def __init__(
        self,
        models: Models,
        online: OnlineStore,
        log: PredictionLog,
        metrics: Metrics,
        settings: ServingSettings,
    ) -> None:
        self._models, self._online, self._settings = models, online, settings
        self._log, self._metrics = log, metrics
        self.predicting = Executor("predict", settings.max_waiting)
        self.loading = Executor("load", settings.max_waiting)

    async def predict(self, request: PredictRequest, request_id: str) -> PredictResponse:
        """Answer a request.

        Raises:
            MLEngineError: the request as a whole cannot be answered; what concerns one symbol is
                in the answer's `errors` instead.
        """
        started, limit = perf_counter(), self._settings.default_timeout
        version = self._find(request)
        if version is not None and self.predicting.is_ready(*(pace := _pace_of(request, version))):
            work = partial(self._answer, request, version, request_id, started)
            return self.predicting.run_here(work, *pace)
        try:
            async with asyncio.timeout(limit):
                version = version or await self._load(request)
                work = partial(self._answer, request, version, request_id, started)
                return await self.predicting.run_paced(work, *_pace_of(request, version))
        except TimeoutError as exc:
            if isinstance(exc, MLEngineError):
                raise
            raise TimeLimitError("the prediction", limit, "DEFAULT_TIMEOUT") from exc

    def close(self) -> None:
        """Finish what has begun."""
        self.predicting.close()
        self.loading.close()

    def _number(self, request: PredictRequest) -> int | None:
        if request.alias in (None, PRODUCTION):
            return request.version
        return self._models.number_of(request.model_id, str(request.alias))

    def _find(self, request: PredictRequest) -> LoadedVersion | None:
        """Return the version asked for if it is loaded."""
        return self._models.find(request.model_id, self._number(request))

    async def _load(self, request: PredictRequest) -> LoadedVersion:
        number = self._number(request) or 0
        return await self.loading.run(lambda: self._models.load(request.model_id, number))

    def _answer(
        self, request: PredictRequest, version: LoadedVersion, request_id: str, started: float
    ) -> PredictResponse:
        began = perf_counter()
        model_input = gather(request, version, self._online, self._settings.max_batch_size)
        route = choose(
            version.options, max(1, len(model_input.keys)), request.wanted_backend, request.strict
        )
        scores = _scores(model_input, version, route)
        answers, errors = _decoded(model_input, scores, version)
        errors = {**model_input.errors, **errors}
        ended = perf_counter()
        took_ms = (ended - started) * 1e3
        self._count(version, route, len(answers), errors, ended - began)
        if _other_bases(model_input, version):
            self._metrics.price_basis_mismatches.labels(version.model_id).inc()
        served = Served(request_id, took_ms, route.option)
        self._log.append(logged(model_input, scores, answers, version, served))
        form = FORMS.get(version.template.inputs)
        return form.response(
            model_id=version.model_id,
            model_type=version.contract.template,
            model_version=version.number,
            model_version_label=f"v{version.number}",
            predictions=answers,
            **form.beside(answers),
            errors={key: ErrorEntry(**entry_of(error)) for key, error in errors.items()},
            ignored=list(model_input.ignored),
            warnings=_warnings(model_input, version),
            processing_time_ms=round(took_ms, 3),
            hardware_used=route.option.backend,
            flavor=route.option.flavor,
            fallback=route.fallback,
            request_id=request_id,
        )

    def _count(
        self,
        version: LoadedVersion,
        route: Route,
        n_answers: int,
        errors: dict[str, MLEngineError],
        seconds: float,
    ) -> None:
        metrics, model, option = self._metrics, version.model_id, route.option
        labels = (model, str(version.number), option.flavor, option.backend)
        metrics.predictions(*labels).inc(n_answers)
        metrics.traffic.count_predictions(n_answers)
        metrics.predict_seconds(model).observe(seconds)
        for error in errors.values():
            metrics.prediction_errors.labels(model, code_of(error)).inc()
        if route.fallback is not None:
            metrics.fallbacks.labels(model, option.backend).inc()


def _pace_of(request: PredictRequest, version: LoadedVersion) -> tuple[Hashable, int]:
    """Return the kind of work that a request is, and how many pieces of it."""
    return (version.model_id, version.number, request.form), request.n_asked


def _other_bases(model_input: ModelInput, version: LoadedVersion) -> set[str]:
    bases = {
        source.price_basis for source in model_input.provenance if source.price_basis is not None
    }
    return bases - {version.contract.price_basis}


def _warnings(model_input: ModelInput, version: LoadedVersion) -> list[str]:
    """Return a line for each difference between the bars of the answers and those of training."""
    contract, lines = version.contract, []
    if others := _other_bases(model_input, version):
        found = ", ".join(sorted(others))
        lines.append(f"price_basis: made from {contract.price_basis} prices, got {found}")
    if model_input.unseen:
        lines.append(f"symbols: not in the training data: {', '.join(model_input.unseen)}")
    if model_input.missing:
        lines.append(f"universe: no bar at this time of {', '.join(model_input.missing)}")
    return lines


def _scores(model_input: ModelInput, version: LoadedVersion, route: Route) -> NDArray[np.float32]:
    if not model_input.keys:
        return np.empty((0, version.contract.outputs.shape[1] or 0), dtype=np.float32)
    return route.option.predictor(model_input.X)


def _decoded(
    model_input: ModelInput, scores: NDArray[np.float32], version: LoadedVersion
) -> tuple[dict[str, dict[str, Any]], dict[str, MLEngineError]]:
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
