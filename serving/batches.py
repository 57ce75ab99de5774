"""Batches: many rows, symbols or texts through one version, in slices that let others through.

Rows and texts are answered as columns (`pipelines.recipes.answering`); symbols go the way of a
single prediction, as many at a time as that takes. All of it runs in the thread of the predictions,
one short slice after another, so a prediction waits for a slice at most.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import polars as pl
import sqlalchemy as sa
import structlog

from pipelines.data import results
from pipelines.jobs.job import OPEN_STATES
from pipelines.recipes.answering import ERROR, Answerer, answer_columns, n_errors
from pipelines.recipes.inputs import Definition
from pipelines.recipes.scored_rows import ScoredRows
from pipelines.recipes.scoring import answers_of, numbered
from registry.alias_rows import PRODUCTION
from registry.database import reading
from registry.errors import MLEngineError, ShapeError, TimeLimitError
from registry.settings import PlatformSettings
from registry.tables import jobs
from serving.batch_questions import Named, check_lengths, sliced
from serving.engine import Engine
from serving.executor import Executor
from serving.forms import distinct
from serving.loading import LoadedVersion
from serving.models import Models
from serving.router import Route, choose
from serving.schemas import ErrorEntry, PredictRequest, PredictResponse
from serving.settings import ServingSettings

ENTRY_POINT = "score"
PRIORITY = -1
"""Below everything that watches: a batch takes a slot that nothing else waits for."""
SLICE_SECONDS = 0.02
FIRST_SLICE, LARGEST_SLICE = 64, 8192
SYMBOLS = 100
"""Symbols answered in one slice; each takes a fraction of a millisecond."""
MAX_WAITING = 16
"""Bodies that may wait to be looked at."""
DAY_SECONDS = 86_400.0

log = structlog.get_logger("serving.batches")


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers as columns, and what is told about them beside."""

    answers: pl.DataFrame
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one process."""

    platform: PlatformSettings
    settings: ServingSettings
    database: sa.Engine
    models: Models
    engine: Engine
    looking: Executor

    def start(self) -> None:
        """Remove results that are older than they are kept."""
        try:
            self.sweep()
        except (OSError, sa.exc.SQLAlchemyError) as exc:  # the next start or job does it
            log.warning("results not swept", error=str(exc).partition("\n")[0])

    def close(self) -> None:
        """Finish the look that has begun, drop what waits."""
        self.looking.close()

    def sweep(self) -> int:
        """Remove results that are older than they are kept, but none that an open job needs."""
        open_jobs = jobs.c.state.in_(OPEN_STATES) & (jobs.c.kind == ENTRY_POINT)
        with reading(self.database) as connection:
            payloads = connection.scalars(sa.select(jobs.c.payload).where(open_jobs)).all()
        held = {str(payload.get("results", "")) for payload in payloads}
        kept = self.settings.results_retention * DAY_SECONDS
        arriving = 2 * self.settings.upload_timeout
        return results.sweep(self.platform.results_dir, kept, arriving, held)

    async def resolve(self, named: Named) -> LoadedVersion:
        """Return the version that is asked for, loaded.

        Raises:
            NotFoundError, UnavailableError: there is none, or it cannot be loaded.
        """
        number = named.version
        if named.alias not in (None, PRODUCTION):
            number = self.models.number_of(named.model_id, str(named.alias))
        found = self.models.find(named.model_id, number)
        if found is not None:
            return found
        wanted = number or 0
        return await self.engine.loading.run(lambda: self.models.load(named.model_id, wanted))

    async def answer_rows(
        self, rows: ScoredRows, version: LoadedVersion, named: Named, request_id: str
    ) -> Answered:
        """Answer rows or texts.

        Raises:
            TimeLimitError: it takes longer than DEFAULT_TIMEOUT.
            BackendUnavailableError: `strict`, and the hardware asked for is not here.
        """
        began = perf_counter()
        route = choose(version.options, max(1, rows.n_rows), named.hardware, named.strict)
        answerer = answerer_of(version, route)
        found = [pl.DataFrame(schema=pl.Schema(answerer.types()))] if not rows.n_rows else []
        done, size = 0, FIRST_SLICE
        async with self._limited():
            while done < rows.n_rows:
                started = perf_counter()
                work = partial(_answers, rows, done, size, answerer)
                part = await self.engine.predicting.run(work)
                found.append(part)
                done += len(part)
                size = _next_size(size, perf_counter() - started)
        answers = numbered(pl.concat(found), 0)
        counts = {"n_rows": len(answers), "n_errors": n_errors(answers)}
        used = {
            "processing_time_ms": round((perf_counter() - began) * 1e3, 3),
            "hardware_used": route.option.backend,
            "flavor": route.option.flavor,
            "fallback": route.fallback,
        }
        nothing: dict[str, list[str]] = {"ignored": [], "warnings": []}
        return Answered(
            answers, _about(version) | counts | nothing | used | {"request_id": request_id}
        )

    async def answer_symbols(
        self, request: PredictRequest, version: LoadedVersion, request_id: str
    ) -> Answered:
        """Answer symbols from the bars held, or from bars of the request.

        Raises:
            ShapeError: more symbols than are answered at once.
            ParameterError: a symbol twice, or a list of another length.
            TimeLimitError: it takes longer than DEFAULT_TIMEOUT.
        """
        began, most = perf_counter(), self.settings.batch_inline_rows
        asked = request.symbols or list(request.bars or {})
        if len(asked) > most:
            raise ShapeError("symbols", f"at most {most} (BATCH_INLINE_ROWS)", str(len(asked)))
        symbols, step = distinct(asked, most), min(SYMBOLS, self.settings.max_batch_size)
        check_lengths(request, len(symbols))
        parts: list[PredictResponse] = []
        async with self._limited():
            for start in range(0, len(symbols), step):
                part = sliced(request, symbols, start, start + step)
                pinned = part.model_copy(update={"version": version.number, "alias": None})
                parts.append(await self.engine.predict(pinned, request_id))
        answers = numbered(_of_responses(parts, symbols, version), 0)
        last = parts[-1]
        told = {
            "n_rows": len(answers),
            "n_errors": n_errors(answers),
            "ignored": list(dict.fromkeys(line for part in parts for line in part.ignored)),
            "warnings": list(dict.fromkeys(line for part in parts for line in part.warnings)),
            "processing_time_ms": round((perf_counter() - began) * 1e3, 3),
            "hardware_used": last.hardware_used,
            "flavor": last.flavor,
            "fallback": last.fallback,
            "request_id": request_id,
        }
        return Answered(answers, _about(version) | told)

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        limit = self.settings.default_timeout
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as exc:
            if isinstance(exc, MLEngineError):
                raise
            raise TimeLimitError("the batch", limit, "DEFAULT_TIMEOUT") from exc


def answerer_of(version: LoadedVersion, route: Route | None = None) -> Answerer:
    """Return a loaded version as one that answers frames, with the artifact that was chosen."""
    chosen = route or choose(version.options, 1)
    definition = Definition(
        version.contract.feature_fingerprint,
        version.features,
        version.context_names,
        version.aliases,
    )
    return Answerer(
        version.contract,
        version.template,
        version.decoder,
        definition,
        version.refusals,
        chosen.option.predictor,
    )


def _answers(rows: ScoredRows, first_row: int, size: int, answerer: Answerer) -> pl.DataFrame:
    return answers_of(next(rows.slices(size, first_row)), answerer)


def _next_size(size: int, seconds: float) -> int:
    """Return how many rows take about `SLICE_SECONDS`, at most four times as many as before."""
    fitting = int(size * min(4.0, SLICE_SECONDS / max(seconds, 1e-6)))
    return max(1, min(LARGEST_SLICE, fitting))


def _about(version: LoadedVersion) -> dict[str, Any]:
    return {
        "model_id": version.model_id,
        "model_type": version.contract.template,
        "model_version": version.number,
        "model_version_label": f"v{version.number}",
    }


def _of_responses(
    parts: Sequence[PredictResponse], symbols: Sequence[str], version: LoadedVersion
) -> pl.DataFrame:
    """Return answers of single requests as columns, in the order of the symbols."""
    types = answer_columns(version.template, version.contract)
    found = {key: answer for part in parts for key, answer in part.predictions.items()}
    failed = {key: error for part in parts for key, error in part.errors.items()}
    rows = [
        {**found.get(symbol, {}), ERROR: _told(failed.get(symbol)), "symbol": symbol}
        for symbol in symbols
    ]
    return pl.DataFrame(rows, schema=pl.Schema({"symbol": pl.String(), **types}))


def _told(error: ErrorEntry | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message}
