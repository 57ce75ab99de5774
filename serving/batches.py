"""Batches: many rows, symbols, texts or portfolios through one version, as columns.

All of it runs in the thread of the predictions, one short slice after another, so a prediction
waits for a slice at most. What is too much for one answer becomes a job; of symbols and portfolios
the inputs are made here, when the request is accepted (`serving.batch_inputs`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import polars as pl
import sqlalchemy as sa
import structlog

from monitoring.batch_log import Batch, BatchLog
from pipelines.data import results
from pipelines.data.results import ResultFolder
from pipelines.jobs.job import OPEN_STATES
from pipelines.recipes.answering import ERROR, AnsweredRows, Answerer, n_errors
from pipelines.recipes.inputs import Definition
from pipelines.recipes.prepared_rows import PreparedWriter
from pipelines.recipes.scored_rows import ScoredRows, Slice
from pipelines.recipes.scoring import answers_of, numbered
from registry.alias_rows import PRODUCTION
from registry.database import reading
from registry.errors import MLEngineError, TimeLimitError
from registry.settings import PlatformSettings
from registry.tables import jobs
from serving.batch_inputs import Questions
from serving.batch_questions import Named
from serving.engine import Engine
from serving.executor import Executor
from serving.loading import LoadedVersion
from serving.metrics import Metrics
from serving.models import Models
from serving.router import Route, choose
from serving.settings import ServingSettings

ENTRY_POINT = "score"
PRIORITY = -1
"""Below everything that watches: a batch takes a slot that nothing else waits for."""
SLICE_SECONDS = 0.02
FIRST_SLICE, LARGEST_SLICE = 64, 8192
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
class Asked:
    """How the prediction log calls a batch, and the column that names its rows, if one does."""

    request_id: str
    kind: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one process."""

    platform: PlatformSettings
    settings: ServingSettings
    database: sa.Engine
    models: Models
    engine: Engine
    looking: Executor
    metrics: Metrics
    log: BatchLog

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
        self, rows: ScoredRows, version: LoadedVersion, named: Named, asked: Asked
    ) -> Answered:
        """Answer rows or texts.

        Raises:
            TimeLimitError: it takes longer than DEFAULT_TIMEOUT.
            BackendUnavailableError: `strict`, and the hardware asked for is not here.
        """
        nothing: dict[str, list[str]] = {"ignored": [], "warnings": []}
        found = await self._answered(rows, version, named, asked)
        return Answered(found.answers, {**found.facts, **nothing})

    async def answer_questions(
        self, questions: Questions, version: LoadedVersion, named: Named, asked: Asked
    ) -> Answered:
        """Answer symbols or portfolios.

        Raises:
            TimeLimitError, BackendUnavailableError: as above.
        """
        found = await self._answered(questions.rows, version, named, asked, questions.asked)
        if questions.notes.bases - {version.contract.price_basis}:
            self.metrics.price_basis_mismatches.labels(version.model_id).inc()
        return Answered(found.answers, {**found.facts, **questions.notes.facts(version)})

    async def prepare(self, questions: Questions, version: LoadedVersion) -> ResultFolder:
        """Make the inputs of symbols or portfolios and keep them for a job.

        They are made now, from the bars of this moment, slice by slice between other predictions,
        and go to disk as they are made.

        Raises:
            TimeLimitError: it takes longer than UPLOAD_TIMEOUT.
            DiskFullError, TooManyUploadsError: there is no room for them.
        """
        root, rows = self.platform.results_dir, questions.rows
        with results.preparing(root) as path:
            async with self._limited(self.settings.upload_timeout, "UPLOAD_TIMEOUT"):
                with PreparedWriter(path, questions.asked) as writer:
                    size = FIRST_SLICE
                    while writer.n_rows < rows.n_rows:
                        started = perf_counter()
                        work = partial(_slice, rows, writer.n_rows, size)
                        part = await self.engine.predicting.run(work)
                        size = _next_size(size, perf_counter() - started)
                        await asyncio.to_thread(writer.write, part)
            return await asyncio.to_thread(results.place, root, path)

    async def _answered(
        self,
        rows: ScoredRows,
        version: LoadedVersion,
        named: Named,
        asked: Asked,
        fields: tuple[str, ...] = (),
    ) -> Answered:
        began = perf_counter()
        route = choose(version.options, max(1, rows.n_rows), named.hardware, named.strict)
        answerer = replace(answerer_of(version, route), asked=fields)
        batch = _batch(asked, version, route)
        found: list[pl.DataFrame] = []
        logged: list[pl.DataFrame] = []
        done, size = 0, FIRST_SLICE
        async with self._limited(self.settings.default_timeout, "DEFAULT_TIMEOUT"):
            while done < rows.n_rows:
                started = perf_counter()
                work = partial(_answers, rows, done, size, answerer)
                part = await self.engine.predicting.run(work)
                size = _next_size(size, perf_counter() - started)
                found.append(part.answers)
                done += len(part.answers)
                if self.log.wants(batch):
                    logged.append(await asyncio.to_thread(batch.columns, part))
        nothing = pl.DataFrame(schema=pl.Schema(answerer.types()))
        answers = numbered(pl.concat(found) if found else nothing, 0)
        seconds = perf_counter() - began
        self._count(version, route, answers, seconds)
        if logged:
            batch = replace(batch, latency_ms=seconds * 1e3)
            await asyncio.to_thread(lambda: self.log.write(batch, batch.rows(logged, 0)))
        used = {
            "n_rows": len(answers),
            "n_errors": n_errors(answers),
            "processing_time_ms": round(seconds * 1e3, 3),
            "hardware_used": route.option.backend,
            "flavor": route.option.flavor,
            "fallback": route.fallback,
            "request_id": asked.request_id,
        }
        return Answered(answers, _about(version) | used)

    def _count(
        self, version: LoadedVersion, route: Route, answers: pl.DataFrame, seconds: float
    ) -> None:
        metrics, model, option = self.metrics, version.model_id, route.option
        n_answered = len(answers) - n_errors(answers)
        labels = (model, str(version.number), option.flavor, option.backend)
        metrics.predictions(*labels).inc(n_answered)
        metrics.traffic.count_predictions(n_answered)
        metrics.predict_seconds(model).observe(seconds)
        codes = answers[ERROR].drop_nulls().struct.field("code").value_counts()
        for code, n in codes.iter_rows():
            metrics.prediction_errors.labels(model, code).inc(n)
        if route.fallback is not None:
            metrics.fallbacks.labels(model, option.backend).inc()

    @asynccontextmanager
    async def _limited(self, limit: float, setting: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as exc:
            if isinstance(exc, MLEngineError):
                raise
            raise TimeLimitError("the batch", limit, setting) from exc


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


def _slice(rows: ScoredRows, first_row: int, size: int) -> Slice:
    return next(rows.slices(size, first_row))


def _answers(rows: ScoredRows, first_row: int, size: int, answerer: Answerer) -> AnsweredRows:
    return answers_of(_slice(rows, first_row, size), answerer)


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


def _batch(asked: Asked, version: LoadedVersion, route: Route) -> Batch:
    return Batch(
        contract=version.contract,
        template=version.template,
        version=version.number,
        request_id=asked.request_id,
        served_at=datetime.now(UTC),
        flavor=route.option.flavor,
        backend=route.option.backend,
        source_kind=asked.kind,
        key=asked.key,
    )
