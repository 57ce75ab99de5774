"""Engine: one prediction request from body to answer.

Resolve the version, compute (`serving.computation`), count, log. What computes runs in an executor
(`serving.executor`), on the event loop only when it is known to be quicker than the way to a
thread; what is asked about bars held then shares one model call with what arrived with it
(`serving.coalescing`). The prediction log never delays an answer.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from time import perf_counter

from monitoring.prediction_log import PredictionLog
from registry.alias_rows import PRODUCTION
from registry.errors import MLEngineError, TimeLimitError
from serving.coalescing import Coalescer
from serving.computation import Computation, Part, compute
from serving.errors import code_of, entry_of
from serving.executor import Executor
from serving.forms import FORMS, OnlineStore, distinct
from serving.loading import LoadedVersion
from serving.metrics import Metrics
from serving.models import Models
from serving.predictions import Served, logged
from serving.schemas import ErrorEntry, PredictRequest, PredictResponse
from serving.settings import ServingSettings

JOINED = frozenset(
    {"model", "model_type", "version", "alias", "symbols", "hardware", "backend", "strict"}
)
"""The fields of a request that may be joined with others; any other asks for more than symbols."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to a version, and when it came."""

    request: PredictRequest
    version: LoadedVersion
    request_id: str
    started: float


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
        self._models, self.online, self._settings = models, online, settings
        self._log, self._metrics = log, metrics
        self.predicting = Executor("predict", settings.max_waiting)
        self.loading = Executor("load", settings.max_waiting)
        self._joined = Coalescer(self._answer_joined)

    async def predict(self, request: PredictRequest, request_id: str) -> PredictResponse:
        """Answer a request.

        Raises:
            MLEngineError: the request as a whole cannot be answered; what concerns one symbol is
                in the answer's `errors` instead.
        """
        started, limit = perf_counter(), self._settings.default_timeout
        version = self._find(request)
        if version is not None and self.predicting.is_ready(*_pace_of(request, version)):
            asked = _Asked(request, version, request_id, started)
            if (answer := await self._answer_here(asked)) is not None:
                return answer
        try:
            async with asyncio.timeout(limit):
                version = version or await self._load(request)
                work = partial(self._answer, _Asked(request, version, request_id, started))
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

    async def _answer_here(self, asked: _Asked) -> PredictResponse | None:
        """Answer on the event loop; None where its turn comes when the thread is not idle."""
        request, version = asked.request, asked.version
        if request.symbols is None or not _may_be_joined(request, version):
            work = partial(self._answer, asked)
            return self.predicting.run_here(work, *_pace_of(request, version))
        distinct(request.symbols, self._settings.max_batch_size)
        kind = (version.model_id, version.number, request.wanted_backend, request.strict)
        return await self._joined.ask(kind, asked)

    def _answer(self, asked: _Asked) -> PredictResponse:
        found = compute(asked.request, asked.version, self.online, self._settings.max_batch_size)
        return self._told([(asked, found.whole)], found)[0]

    def _answer_joined(self, asked: Sequence[_Asked]) -> Sequence[PredictResponse | None]:
        """Answer these, up to a whole batch of symbols, by one model call.

        Each of them is quick, and the round would not end before all are answered one by one.
        """
        pace, n_first = _pace_of(asked[0].request, asked[0].version)
        if not self.predicting.is_ready(pace, n_first):
            return [None] * len(asked)
        n_asked = list(accumulate(each.request.n_asked for each in asked))
        n_taken = max(1, bisect_right(n_asked, self._settings.max_batch_size))
        work = partial(self._together, asked[:n_taken])
        return self.predicting.run_here(work, pace, n_asked[n_taken - 1])

    def _together(self, asked: Sequence[_Asked]) -> list[PredictResponse]:
        if len(asked) == 1:
            return [self._answer(asked[0])]
        first, every = asked[0], [each.request.symbols or [] for each in asked]
        symbols = list(dict.fromkeys(chain.from_iterable(every)))
        request = first.request.model_copy(update={"symbols": symbols})
        found = compute(request, first.version, self.online, len(symbols))
        parts = map(found.part, every)
        return self._told(list(zip(asked, parts, strict=True)), found)

    def _told(
        self, parts: Sequence[tuple[_Asked, Part]], found: Computation
    ) -> list[PredictResponse]:
        """Count a computation, log it, and return what each request is told of it."""
        now, version = perf_counter(), parts[0][0].version
        served = [
            Served(asked.request_id, (now - asked.started) * 1e3, list(part.answers))
            for asked, part in parts
        ]
        self._log.append(logged(found, version, served))
        return [
            self._response(each, part, found, version)
            for each, (_, part) in zip(served, parts, strict=True)
        ]

    def _response(
        self, served: Served, part: Part, found: Computation, version: LoadedVersion
    ) -> PredictResponse:
        """Count what a request is told, and return it as its answer."""
        model_input, option = found.model_input, found.route.option
        other_bases = _other_bases(part, version)
        self._count(version, found, part, is_other_basis=bool(other_bases))
        form = FORMS.get(version.template.inputs)
        return form.response(
            model_id=version.model_id,
            model_type=version.contract.template,
            model_version=version.number,
            model_version_label=f"v{version.number}",
            predictions=part.answers,
            **form.beside(part.answers),
            errors={key: ErrorEntry(**entry_of(error)) for key, error in part.errors.items()},
            ignored=list(model_input.ignored),
            warnings=warnings_of(other_bases, part.unseen, model_input.missing, version),
            processing_time_ms=round(served.latency_ms, 3),
            hardware_used=option.backend,
            flavor=option.flavor,
            fallback=found.route.fallback,
            request_id=served.request_id,
        )

    def _count(
        self, version: LoadedVersion, found: Computation, part: Part, *, is_other_basis: bool
    ) -> None:
        metrics, model, option = self._metrics, version.model_id, found.route.option
        labels = (model, str(version.number), option.flavor, option.backend)
        metrics.predictions(*labels).inc(len(part.answers))
        metrics.traffic.count_predictions(len(part.answers))
        metrics.predict_seconds(model).observe(found.seconds)
        for error in part.errors.values():
            metrics.prediction_errors.labels(model, code_of(error)).inc()
        if found.route.fallback is not None:
            metrics.fallbacks.labels(model, option.backend).inc()
        if is_other_basis:
            metrics.price_basis_mismatches.labels(model).inc()


def _may_be_joined(request: PredictRequest, version: LoadedVersion) -> bool:
    """Return whether all that is asked is symbols, so that one call can answer several requests."""
    return request.model_fields_set <= JOINED and version.template.inputs == "bars"


def _pace_of(request: PredictRequest, version: LoadedVersion) -> tuple[Hashable, int]:
    """Return the kind of work that a request is, and how many pieces of it."""
    return (version.model_id, version.number, request.form), request.n_asked


def _other_bases(part: Part, version: LoadedVersion) -> set[str]:
    """Return the price bases of the answers' bars other than that of training."""
    bases = {answer["price_basis"] for answer in part.answers.values()}
    return bases - {version.contract.price_basis, None}


def warnings_of(
    other_bases: Collection[str],
    unseen: Sequence[str],
    missing: Sequence[str],
    version: LoadedVersion,
) -> list[str]:
    """Return a line for each difference between the bars of the answers and those of training."""
    lines = []
    if other_bases:
        found = ", ".join(sorted(other_bases))
        lines.append(f"price_basis: made from {version.contract.price_basis} prices, got {found}")
    if unseen:
        lines.append(f"symbols: not in the training data: {', '.join(unseen)}")
    if missing:
        lines.append(f"universe: no bar at this time of {', '.join(missing)}")
    return lines
