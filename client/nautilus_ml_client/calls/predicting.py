"""Asking models: POST /predict in each of its forms, one request or a batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from nautilus_ml_client import frames
from nautilus_ml_client.answers import BarsResponse, BatchJob, OutcomesResponse
from nautilus_ml_client.bars import bars_of, chunks, history_of, outcomes_of, portfolio_of
from nautilus_ml_client.errors import AnswerError, InputError
from nautilus_ml_client.predictions import Predictions, batch_of, merged, predictions_of
from nautilus_ml_client.requests import Flow, answered, as_time, enqueue, given, post, read

MOST_BARS = 20_000
"""In one request: about 3 MB of JSON, where the server takes 16 MB."""
MOST_OUTCOMES = 10_000
ACCEPTED = 202


def predict(
    model: str,
    *,
    symbols: Sequence[str] | None = None,
    features: Mapping[str, Any] | None = None,
    timestamp: datetime | str | None = None,
    bars: Any = None,
    price_basis: str | None = None,
    timezone: str | None = None,
    rows: Any = None,
    context: Mapping[str, Sequence[float]] | None = None,
    texts: Iterable[str | Mapping[str, str]] | None = None,
    portfolio: Any = None,
    risk_metrics: Sequence[str] | None = None,
    time_horizon: str | None = None,
    prediction_horizon: str | Sequence[str | None] | None = None,
    version: int | None = None,
    alias: str | None = None,
    hardware: str | None = None,
    strict: bool = False,
) -> Flow[Predictions[Any]]:
    """Ask a model, in one form: `symbols`, `bars`, `rows`, `texts` or `portfolio`.

    Nothing of a request is stored, so a lost answer is asked for again.

    Args:
        symbols: whose bars the server holds; with `rows`, the rows' names.
        features: what is known of the newest step, a list with one value per symbol each.
        bars: a frame or mappings with `symbol`, `timestamp`, `close`, ..., or symbol -> those.
        timezone: IANA zone of times of `bars` without one.
        rows: a frame, mappings, lists, or an array `(row, feature)` or `(row, step, feature)`.
        texts: texts, or mappings with `id` and `text`.
        portfolio: symbol -> weight, or positions (mappings or a frame) with weight or shares.
        hardware: cpu, neural_engine, metal_gpu or cuda_gpu; None: whichever is fastest.
        strict: an error (503) where that hardware is absent, instead of another one.

    Raises:
        InputError: what was given cannot be sent.
        AnswerError: the server refused it; an error of one symbol is in `errors` of the answer.
    """
    body = given(
        model=model,
        symbols=None if symbols is None else list(symbols),
        features=features,
        timestamp=as_time(timestamp),
        bars=None if bars is None else history_of(bars, timezone),
        price_basis=price_basis,
        rows=None if rows is None else rows_of(rows),
        context=context,
        texts=None if texts is None else _texts_of(texts),
        portfolio=None if portfolio is None else portfolio_of(portfolio),
        risk_metrics=risk_metrics,
        time_horizon=time_horizon,
        prediction_horizon=prediction_horizon,
        version=version,
        alias=alias,
        hardware=hardware,
    )
    if strict:
        body["strict"] = True
    return predictions_of((yield post("/predict", body, is_repeatable=True)))


def predict_batch(
    model: str,
    *,
    symbols: Sequence[str] | None = None,
    rows: Any = None,
    texts: Iterable[str | Mapping[str, str]] | None = None,
    questions: Iterable[Mapping[str, Any]] | None = None,
    context: Mapping[str, Sequence[float]] | None = None,
    batch_size: int = 10_000,
    version: int | None = None,
    alias: str | None = None,
    hardware: str | None = None,
    strict: bool = False,
) -> Flow[Predictions[Any]]:
    """Ask a model about many symbols, rows or texts, `batch_size` in one request.

    The answers come back as one, rows and texts numbered through. Every request asks the version
    that answered the first, so that a promotion meanwhile does not mix two versions. A row that
    cannot be answered is in `errors`. `score` is for a million rows.

    Args:
        questions: mappings with `symbol` and the `features` of that symbol alone (of a table the
            row's columns, of texts `{"text": ...}`).
        context: with rows: values that the answers need beside features, one per row.
        batch_size: at most the server's BATCH_INLINE_ROWS.

    Raises:
        InputError: not exactly one of the four forms, nothing in it, or more in one request than
            the server answers at once.
        AnswerError: a part was refused; the note of the error says which.
    """
    form, items = _one_form(symbols=symbols, rows=rows, texts=texts, questions=questions)
    parts: list[Predictions[Any]] = []
    asked: dict[str, Any] = {"model": model, **given(version=version, alias=alias)}
    used = given(hardware=hardware, strict=strict or None)
    for number, part in enumerate(chunks(items, batch_size)):
        offset = number * batch_size
        end = offset + len(part)
        extra = given(context=context and {n: v[offset:end] for n, v in context.items()})
        try:
            parts.append((yield from _batch(asked | used, form, part, extra, offset)))
        except AnswerError as error:
            error.add_note(f"of {form} {offset} to {end - 1}")
            raise
        asked = {"model": model, "version": parts[0].model_version}
    return merged(parts)


def _batch(
    asked: Mapping[str, Any],
    form: str,
    part: Sequence[Any],
    extra: Mapping[str, Any],
    offset: int,
) -> Flow[Predictions[Any]]:
    if form == "questions":
        request = replace(enqueue("/predict/batch", part, None), query=_as_query(asked))
    else:
        request = enqueue("/predict/batch", {**asked, form: part, **extra}, None)
    response = yield request
    if response.status_code == ACCEPTED:
        job = read(BatchJob, response.content)
        raise InputError(
            f"the server made job {job.job_id} of {len(part)} {form}, more than it answers at once "
            "(BATCH_INLINE_ROWS); ask with a smaller batch_size, or use score"
        )
    return batch_of(response, [_name(form, item, offset + i) for i, item in enumerate(part)])


def _name(form: str, item: Any, number: int) -> str:
    """Return what an item's answer is called."""
    if form == "symbols":
        return str(item)
    field = {"texts": "id", "questions": "symbol"}.get(form, "")
    named = item.get(field) if field and isinstance(item, Mapping) else None
    return str(number if named is None else named)


def _as_query(asked: Mapping[str, Any]) -> dict[str, str]:
    return {name: "true" if value is True else str(value) for name, value in asked.items()}


def post_bars(
    bars: Any, *, interval: str, price_basis: str = "unknown", timezone: str | None = None
) -> Flow[BarsResponse]:
    """Keep bars; they are on disk when this returns, and posting them twice changes nothing.

    More than 20,000 are sent in several requests, each kept whole or not at all; the counts add up.

    Args:
        bars: a frame of pandas, polars or Arrow, or mappings, with `symbol`, `timestamp` (the bar's
            close), `close`, and perhaps open, high, low, volume, vwap, spread.
        interval: length of one bar: 1d, 1h, 5m, ...
        price_basis: adjusted, raw, mid or unknown.
        timezone: IANA zone of times without one.

    Raises:
        InputError: a column is missing, there is no bar, or a time has no zone.
    """
    found = bars_of(bars, timezone)
    if not found:
        raise InputError("bars: expected at least one bar")
    answers: list[BarsResponse] = []
    for part in chunks(found, MOST_BARS):
        body = {"bars": part, "interval": interval, "price_basis": price_basis}
        answers.append((yield from answered(post("/bars", body, is_repeatable=True), BarsResponse)))
    return answers[-1].model_copy(
        update={
            "accepted": sum(answer.accepted for answer in answers),
            "duplicates": sum(answer.duplicates for answer in answers),
            "conflicts": [line for answer in answers for line in answer.conflicts],
            "refused": [line for answer in answers for line in answer.refused],
            "processing_time_ms": sum(answer.processing_time_ms for answer in answers),
        }
    )


def post_outcomes(outcomes: Any, *, timezone: str | None = None) -> Flow[OutcomesResponse]:
    """Say what became of predictions; the same outcome twice is a duplicate and harmless.

    More than 10,000 are sent in several requests; the counts add up and `index` counts through.

    Args:
        outcomes: a frame or mappings with `value` and either `request_id` (and `symbol`, where the
            request had several answers) or `model_id`, `symbol` and `as_of`; perhaps `known_at`.
        timezone: IANA zone of times without one.
    """
    found = outcomes_of(outcomes, timezone)
    if not found:
        raise InputError("outcomes: expected at least one outcome")
    answers: list[OutcomesResponse] = []
    for number, part in enumerate(chunks(found, MOST_OUTCOMES)):
        request = post("/outcomes", {"outcomes": part}, is_repeatable=True)
        answer = yield from answered(request, OutcomesResponse)
        answers.append(_counted_through(answer, number * MOST_OUTCOMES))
    counts = ("accepted", "duplicates", "late", "processing_time_ms")
    lists = ("conflicts", "unknown", "invalid")
    return answers[-1].model_copy(
        update={name: sum(getattr(a, name) for a in answers) for name in counts}
        | {name: [entry for a in answers for entry in getattr(a, name)] for name in lists}
    )


def rows_of(rows: Any) -> list[Any]:
    """Return rows as JSON has them: of a frame, an array, mappings or lists."""
    if frames.library_of(rows):
        return frames.rows_of(rows)
    listed = rows.tolist() if hasattr(rows, "tolist") else rows
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise InputError(f"rows: expected a frame, an array or rows, got {type(rows).__name__}")
    return [
        {name: frames.plain(value) for name, value in row.items()}
        if isinstance(row, Mapping)
        else row
        for row in listed
    ]


def _texts_of(texts: Iterable[str | Mapping[str, str]]) -> list[Any]:
    if isinstance(texts, str):
        raise InputError("texts: expected several texts; put the one into a list")
    return list(texts)


def _one_form(**forms: Any) -> tuple[str, list[Any]]:
    chosen = {name: value for name, value in forms.items() if value is not None}
    if len(chosen) != 1:
        raise InputError(f"give exactly one of {', '.join(forms)}")
    form, value = next(iter(chosen.items()))
    reads = {"rows": rows_of, "texts": _texts_of, "questions": frames.rows_of}
    items = reads.get(form, list)(value)
    if not items:
        raise InputError(f"{form}: expected at least one")
    return form, items


def _counted_through(answer: OutcomesResponse, offset: int) -> OutcomesResponse:
    return answer.model_copy(
        update={
            name: [
                entry.model_copy(update={"index": entry.index + offset})
                for entry in getattr(answer, name)
            ]
            for name in ("conflicts", "unknown", "invalid")
        }
    )
