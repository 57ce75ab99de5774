"""POST /outcomes: what became of predictions."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from monitoring.outcome_reports import OutcomeReport, Receipt, Reporting
from registry.errors import MLEngineError, TimeLimitError
from serving import examples
from serving.route_table import Example, Route, Scope
from serving.schemas import Name, Time
from serving.security import principal_of
from serving.service import Service, service_of

MOST_OUTCOMES = 10_000
REQUEST_ID = r"^[A-Za-z0-9_.\-]{1,64}$"
TEXT = r"^[^\x00-\x1f\x7f]{1,200}$"
LARGEST = 3.4e38

Text = Annotated[str, Field(strict=True, pattern=TEXT)]
Value = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]


class OutcomeBody(BaseModel):
    """One outcome: of a request's answer, or of a model, symbol and time."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    request_id: Annotated[str, Field(strict=True, pattern=REQUEST_ID)] | None = Field(
        default=None, description="`request_id` of the answer of /predict."
    )
    model_id: Name | None = None
    symbol: Text | None = Field(
        default=None,
        description="Key of the answer: a symbol, or a row's name or number. A request with one "
        "answer needs none.",
    )
    as_of: Time | None = Field(default=None, description="`as_of` of the answer.")
    value: Value | Text = Field(description="A number, or the name of a class.")
    known_at: Time | None = Field(
        default=None, description="When it was known in the world; absent: now."
    )


class OutcomesRequest(BaseModel):
    """Outcomes; each is taken or refused by itself."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [examples.OUTCOMES]}
    )

    outcomes: list[OutcomeBody] = Field(min_length=1, max_length=MOST_OUTCOMES)


class UnknownOutcome(BaseModel):
    """An outcome of a prediction that is not logged."""

    index: int = Field(description="Place in the request, from 0.")
    reason: str
    is_kept: bool = Field(description="Whether it is kept: model, symbol and time name it.")


class InvalidOutcome(BaseModel):
    """An outcome that cannot be used."""

    index: int = Field(description="Place in the request, from 0.")
    reason: str


class ConflictingOutcome(BaseModel):
    """An outcome for which another value is held; the held one stays."""

    model_config = ConfigDict(protected_namespaces=())

    index: int = Field(description="Place in the request, from 0.")
    model_id: str
    symbol: str
    as_of: datetime
    held: float | str


class OutcomesResponse(BaseModel):
    """What became of the outcomes.

    `accepted`, `duplicates`, `conflicts`, `invalid` and what is `unknown` and not kept add up to
    the outcomes sent.
    """

    accepted: int = Field(description="New, and on disk.")
    duplicates: int = Field(description="Held already with the same value.")
    late: int = Field(description="Of the accepted: received more than a day after `known_at`.")
    conflicts: list[ConflictingOutcome]
    unknown: list[UnknownOutcome]
    invalid: list[InvalidOutcome]
    processing_time_ms: float
    request_id: str


async def post_outcomes(body: OutcomesRequest, request: Request) -> OutcomesResponse:
    """Say what became of predictions.

    Name a prediction by the `request_id` of its answer (and `symbol`, the answer's key, where the
    request had several), or by `model_id`, `symbol` and `as_of`. `value` is what really happened:
    a number, or a class for models that answer with classes. The first value for a prediction
    stays; sending it again changes nothing. Drift reports of models over tables and texts take
    their realised loss from here; over bars the engine computes it by itself.
    """
    service, started = service_of(request), perf_counter()
    principal, limit = principal_of(request), service.settings.default_timeout
    for outcome in body.outcomes:
        if outcome.model_id is not None:
            principal.check_model(outcome.model_id)
    reports = [OutcomeReport(**dict(outcome)) for outcome in body.outcomes]
    try:
        async with asyncio.timeout(limit):
            receipt = await service.reporting.run(
                lambda: _reporting(service).take(
                    reports, principal.allows, principal.actor, datetime.now(UTC)
                )
            )
    except TimeoutError as exc:
        if isinstance(exc, MLEngineError):
            raise
        raise TimeLimitError("keeping the outcomes", limit, "DEFAULT_TIMEOUT") from exc
    _count(service, receipt)
    return OutcomesResponse(
        accepted=receipt.accepted,
        duplicates=receipt.duplicates,
        late=receipt.late,
        conflicts=[ConflictingOutcome(**asdict(each)) for each in receipt.conflicts],
        unknown=[UnknownOutcome(**asdict(each)) for each in receipt.unknown],
        invalid=[InvalidOutcome(**asdict(each)) for each in receipt.invalid],
        processing_time_ms=round((perf_counter() - started) * 1e3, 3),
        request_id=request.state.request_id,
    )


def _reporting(service: Service) -> Reporting:
    return Reporting(service.database, service.registry, service.log)


def _count(service: Service, receipt: Receipt) -> None:
    outcomes = service.metrics.outcomes
    outcomes.labels("accepted").inc(receipt.accepted)
    outcomes.labels("duplicate").inc(receipt.duplicates)
    outcomes.labels("late").inc(receipt.late)
    outcomes.labels("conflict").inc(len(receipt.conflicts))
    outcomes.labels("unknown").inc(len(receipt.unknown))
    outcomes.labels("invalid").inc(len(receipt.invalid))


ROUTES = (
    Route(
        "POST",
        "/outcomes",
        Scope.PREDICT,
        post_outcomes,
        tag="outcomes",
        errors=(503, 504),
        examples=(Example("by symbol and time, and by request", body=examples.OUTCOMES),),
    ),
)
