"""Prediction rows: what the prediction log keeps of an answer, from arrays to columns.

A model call hands over one `LoggedPredictions`, for one request or for several that were answered
together: arrays and lists as the engine holds them, no value of Python per number. The writer's
thread makes the columns of `SCHEMA` from many of them at once.

Scores of which each has a place of its own (a class, a state) are kept whole, because the losses
of `monitoring/outcomes.py` read them by place. Scores that are draws of one distribution (the
scenarios of a portfolio's loss) have no order, and there may be thousands: of more than
`MOST_SCORES` the quantiles at `SCORE_LEVELS` are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic_core import to_json

from pipelines.data.bars import TIMESTAMP, to_microseconds
from registry.thread_priority import give_way

NUMBERS = pl.List(pl.Float32())
SCHEMA: dict[str, pl.DataType] = {
    "request_id": pl.String(),
    "served_at": TIMESTAMP,
    "as_of": TIMESTAMP,
    "model_id": pl.String(),
    "version": pl.Int32(),
    "flavor": pl.String(),
    "backend": pl.String(),
    "symbol": pl.String(),
    "latency_ms": pl.Float32(),
    "features": NUMBERS,  # newest step, in the contract's order
    "scores": NUMBERS,  # or their quantiles, where n_scores is larger
    "answer": pl.String(),  # JSON
    "source_kind": pl.String(),  # bars | rows | table | texts | portfolio
    "n_scores": pl.Int32(),  # of the model; null in files of older releases
    "job_id": pl.String(),  # of the job that answered a batch; else null
    "row": pl.Int64(),  # its number in a batch; null of what /predict answered
    "corrected_by": pl.String(),  # correction of bars; null of an answer (`corrected_rows`)
}
MOST_SCORES = 64
TAIL = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.025)
SCORE_LEVELS = np.array([*TAIL, *(i / 20 for i in range(1, 20)), *(1 - p for p in reversed(TAIL))])
"""Levels of the quantiles that are kept of many draws: every 5 %, and finer in both tails."""
ANSWERS_IN_A_ROW = 64


@dataclass(slots=True, eq=False)
class LoggedPredictions:
    """The answers of one model call, n rows; nothing of it may change once it is handed over.

    It is made for every call, and a frozen one takes five times as long to make.

    Args:
        request_ids, latencies_ms: of the request that each row answers, (n,).
        served_us: when they were answered, in microseconds UTC.
        as_of: (n,); None where a row has no time.
        features: float32 (n, n_features), the newest step.
        scores: float32 (n, n_scores).
        answers: as callers get them.
        is_sample: whether a row's scores are draws of one distribution.
    """

    request_ids: Sequence[str]
    served_us: int
    latencies_ms: Sequence[float]
    model_id: str
    version: int
    flavor: str
    backend: str
    source_kind: str
    symbols: Sequence[str]
    as_of: Sequence[datetime | None]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]
    answers: Sequence[Mapping[str, Any]]
    is_sample: bool = False

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def n_bytes(self) -> int:
        """Memory that the arrays take."""
        return self.features.nbytes + self.scores.nbytes

    def head(self, n_rows: int) -> "LoggedPredictions":
        """Return the first rows."""
        return replace(
            self,
            request_ids=self.request_ids[:n_rows],
            latencies_ms=self.latencies_ms[:n_rows],
            symbols=self.symbols[:n_rows],
            as_of=self.as_of[:n_rows],
            features=self.features[:n_rows],
            scores=self.scores[:n_rows],
            answers=self.answers[:n_rows],
        )


def frame_of(predictions: Sequence[LoggedPredictions]) -> pl.DataFrame:
    """Return the rows of some model calls as the columns of `SCHEMA`.

    They keep their order, but for this: calls with other numbers of features or scores come after
    the others.
    """
    alike: dict[tuple[int, int, bool], list[LoggedPredictions]] = {}
    for each in predictions:
        shape = (each.features.shape[1], each.scores.shape[1], each.is_sample)
        alike.setdefault(shape, []).append(each)
    parts = [_frame(each) for each in alike.values()]
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)


def score_quantiles(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quantiles of each row at `SCORE_LEVELS`: (n, n_scores) -> (n, n_levels).

    Between two scores they are interpolated linearly, as `value_at_risk` does it.
    """
    return np.asarray(np.quantile(scores, SCORE_LEVELS, axis=1).T, dtype=np.float32)


def _frame(alike: Sequence[LoggedPredictions]) -> pl.DataFrame:
    scores = np.concatenate([p.scores for p in alike])
    n_scores, is_sample = scores.shape[1], alike[0].is_sample
    if is_sample and n_scores > MOST_SCORES:
        scores = score_quantiles(scores)
    n_rows = [len(p) for p in alike]
    rows = {
        "as_of": _times(chain.from_iterable(p.as_of for p in alike)),
        "request_id": _column("request_id", [*chain.from_iterable(p.request_ids for p in alike)]),
        "latency_ms": _column("latency_ms", [*chain.from_iterable(p.latencies_ms for p in alike)]),
        "symbol": _column("symbol", [*chain.from_iterable(p.symbols for p in alike)]),
        "features": pl.Series(np.concatenate([p.features for p in alike])).cast(NUMBERS),
        "scores": pl.Series(scores).cast(NUMBERS),
        "answer": _column("answer", _texts([answer for p in alike for answer in p.answers])),
        "n_scores": pl.Series(np.full(sum(n_rows), n_scores, dtype=np.int32)),
    }
    shared = _of_calls(alike)[np.repeat(np.arange(len(alike)), n_rows)]
    return pl.DataFrame(
        [rows[name].alias(name) if name in rows else shared[name] for name in SCHEMA]
    )


def _of_calls(predictions: Sequence[LoggedPredictions]) -> pl.DataFrame:
    """Return the columns that all rows of a model call share, one row per call."""
    names = ("model_id", "version", "flavor", "backend", "source_kind")
    facts = [(p.model_id, p.version, p.flavor, p.backend, p.source_kind) for p in predictions]
    if len(set(facts)) == 1:  # as most often
        columns = [
            _column(name, [fact]).new_from_index(0, len(facts))
            for name, fact in zip(names, facts[0], strict=True)
        ]
    else:
        each = zip(*facts, strict=True)
        columns = [_column(name, list(values)) for name, values in zip(names, each, strict=True)]
    served_at = pl.Series([p.served_us for p in predictions], dtype=pl.Int64()).cast(TIMESTAMP)
    of_batches = [
        _column(name, [None] * len(predictions)) for name in ("job_id", "row", "corrected_by")
    ]
    return pl.DataFrame([*columns, *of_batches, served_at.alias("served_at")])


def _column(name: str, values: list[Any]) -> pl.Series:
    give_way()
    return pl.Series(name, values, dtype=SCHEMA[name])


def _times(times: Iterable[datetime | None]) -> pl.Series:
    """Return times as a column; by numbers, which polars takes faster."""
    stamps = [None if time is None else to_microseconds(time) for time in times]
    return pl.Series(stamps, dtype=pl.Int64()).cast(TIMESTAMP)


def _texts(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return answers as JSON; let requests have the interpreter in between."""
    found: list[str] = []
    for start in range(0, len(answers), ANSWERS_IN_A_ROW):
        give_way()
        some = answers[start : start + ANSWERS_IN_A_ROW]
        found += [to_json(answer, fallback=str).decode() for answer in some]
    return found
