"""Requests by symbols: bars of the request, or bars held, -> arrays for one model call.

What is wrong with one symbol is that symbol's error; the others are answered. Bars of a request are
used and never written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import (
    MICROSECOND,
    SCHEMA,
    BarSeries,
    check_bars,
    from_microseconds,
    infer_interval,
    is_same_interval,
    parse_interval,
    to_microseconds,
)
from pipelines.data.features import is_panel
from pipelines.recipes.inputs.feature_rows import FLOAT32_MAX
from registry.errors import (
    BarsError,
    MLEngineError,
    NoHistoryError,
    ParameterError,
    TooLittleHistoryError,
    ValueRangeError,
)
from serving import columns
from serving.bar_frames import frame_of
from serving.columns import FormingStep
from serving.forms import (
    Form,
    ModelInput,
    OnlineStore,
    Provenance,
    check_horizon,
    distinct,
    horizons_of,
)
from serving.history import Look, StoredBars
from serving.loading import LoadedVersion
from serving.panels import Panel, Panels, newest_of, panel_of
from serving.schemas import PredictRequest
from serving.steps import NewestStep, compute

Find = Callable[[BarSeries, BarSeries | None], NewestStep]


@dataclass(frozen=True, slots=True)
class _Now:
    """What the caller says of one symbol's forming bar, and when it closes."""

    forming: FormingStep
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class _Step:
    """One symbol's part of the input; `values` are (window, n_features), maybe not finite."""

    values: NDArray[np.float64]
    context: Mapping[str, float]
    source: Provenance


def gather(
    request: PredictRequest, version: LoadedVersion, online: OnlineStore, max_rows: int
) -> ModelInput:
    """Return the model's input of a request by symbols, from its own bars or from those held.

    Raises:
        InvalidInputError: the request as a whole cannot be answered.
    """
    symbols = distinct(request.symbols or list(request.bars or {}), max_rows)
    given = columns.read(request.features, symbols, version.feature_set, version.used_columns)
    if request.timestamp is not None and (request.features is None or not _has_price(given)):
        raise ParameterError("timestamp", request.timestamp.isoformat(), "price_data with it")
    horizons = horizons_of(request, symbols)
    look = online.history.look(version.contract.interval)
    panel = None
    if is_panel(version.feature_set):
        panel = _panel(request, version, online.panels, look, given)
    find = _finder(request, version, online, panel)
    errors = dict(given.errors)
    steps: dict[str, _Step] = {}
    for symbol in symbols:
        if symbol in errors:
            continue
        try:
            check_horizon(horizons[symbol], version)
            held = _held(symbol, request, version, look)
            now = _Now(given.forming[symbol], request.timestamp)
            steps[symbol] = _step(held, now, version, find)
        except MLEngineError as error:
            errors[symbol] = error
    used = version.contract.symbols if panel else symbols
    unused = [f"bars.{symbol}" for symbol in request.bars or {} if symbol not in used]
    stacked = _stacked(steps, errors, (*given.ignored, *unused), version)
    return replace(stacked, missing=panel.missing) if panel else stacked


def _panel(
    request: PredictRequest,
    version: LoadedVersion,
    panels: Panels,
    look: Look,
    given: columns.Columns,
) -> Panel:
    """Return the panel of the version's whole universe, with the forming bars of the request."""
    every: dict[str, BarSeries] = {}
    is_held = request.bars is None
    for symbol in version.contract.symbols:
        try:
            held = _held(symbol, request, version, look)
        except MLEngineError:  # named as missing, and the symbol's own error where it is asked for
            continue
        every[symbol] = held.series
        if symbol in given.forming and given.forming[symbol].bar:
            is_held = False
            now = _Now(given.forming[symbol], request.timestamp)
            every[symbol] = _forming(held.series, now, version)
    if is_held:
        return panels.of_held(every, version)
    return panel_of(every, newest_of(every), version)


def _finder(
    request: PredictRequest, version: LoadedVersion, online: OnlineStore, panel: Panel | None
) -> Find:
    """Return the function that finds the newest step of a series, with its forming bar if any."""
    if panel is not None:
        return lambda series, _: panel.step(series.symbol)
    if request.bars is not None:
        return lambda series, forming: compute(series if forming is None else forming, version)
    return lambda series, forming: (
        online.steps.of_forming(series, forming, version)
        if forming is not None
        else online.steps.of_held(series, version)
    )


def _stacked(
    steps: Mapping[str, _Step],
    errors: Mapping[str, MLEngineError],
    ignored: tuple[str, ...],
    version: LoadedVersion,
) -> ModelInput:
    X = _matrix(steps, version)
    if not np.abs(X).max(initial=0.0) < FLOAT32_MAX:  # NaN too
        steps, errors = _usable(steps, errors, version)
        X = _matrix(steps, version)
    context = {
        name: np.array([s.context[name] for s in steps.values()], dtype=np.float64)
        for name in version.context_names
    }
    provenance = tuple(s.source for s in steps.values())
    unseen = tuple(sorted(set(steps) - set(version.contract.symbols)))
    return ModelInput(
        tuple(steps), X, context, provenance, errors, ignored, form="bars", unseen=unseen
    )


def _matrix(steps: Mapping[str, _Step], version: LoadedVersion) -> NDArray[np.float32]:
    """Return the steps as float32, in the shape of the contract; what is too large is infinite."""
    shape = (len(steps), *(size or 0 for size in version.contract.inputs.shape[1:]))
    with np.errstate(over="ignore"):
        return np.array([s.values for s in steps.values()], dtype=np.float32).reshape(shape)


def _usable(
    steps: Mapping[str, _Step], errors: Mapping[str, MLEngineError], version: LoadedVersion
) -> tuple[Mapping[str, _Step], Mapping[str, MLEngineError]]:
    """Return the steps that a model can take, and an error for every other one."""
    refused = {
        symbol: _refusal(symbol, step.values, version)
        for symbol, step in steps.items()
        if not np.abs(step.values).max() <= FLOAT32_MAX
    }
    usable = {symbol: step for symbol, step in steps.items() if symbol not in refused}
    return usable, {**errors, **refused}


def _has_price(given: columns.Columns) -> bool:
    return any(forming.bar for forming in given.forming.values()) or bool(given.errors)


def _held(symbol: str, request: PredictRequest, version: LoadedVersion, look: Look) -> StoredBars:
    """Return the bars to predict from: those of the request if it has bars, else those held."""
    interval, needed = version.contract.interval, _needed(version)
    if request.bars is None:
        found = look.newest(symbol, needed)
        if found is None:
            raise look.absent(symbol)
        return found
    if symbol not in request.bars:
        raise NoHistoryError(symbol, request.bars)
    frame = frame_of((symbol, bar) for bar in request.bars[symbol])
    checked, _ = check_bars(frame, policy="strict", where=f"bars.{symbol}", adjustments=None)
    given = infer_interval(checked) if len(checked) > 1 else interval
    if not is_same_interval(given, interval):
        hint = f"{version.model_id} takes {interval} bars"
        raise BarsError(f"these are {given} bars", f"bars.{symbol}", hint)
    series = BarSeries.from_frame(symbol, checked)
    basis = request.price_basis or "unknown"
    return StoredBars(series.slice(max(0, len(series) - needed), len(series)), basis)


def _needed(version: LoadedVersion) -> int:
    contract = version.contract
    return max(contract.min_history, version.feature_set.min_history + contract.window - 1)


def _step(held: StoredBars, now: _Now, version: LoadedVersion, find: Find) -> _Step:
    """Return one symbol's part of the input."""
    series = held.series
    end = int(series.timestamp[-1])
    forming = _forming(series, now, version) if now.forming.bar else None
    n_bars, needed = len(series if forming is None else forming), _needed(version)
    if n_bars < needed:
        what = f"{version.model_id} v{version.number} for {series.symbol}"
        raise TooLittleHistoryError(what, needed, n_bars, "post earlier bars to /bars")
    found = find(series, forming)
    values = _overridden(found, now.forming, version) if now.forming.overrides else found.values
    history_end = from_microseconds(end)
    as_of = history_end
    if found.series is not series:  # with a forming bar, or a panel that waits for a late one
        as_of = from_microseconds(int(found.series.timestamp[-1]))
    return _Step(values, found.context, Provenance(as_of, history_end, held.price_basis))


def _forming(series: BarSeries, now: _Now, version: LoadedVersion) -> BarSeries:
    """Return as many bars as the version needs, the newest of them forming."""
    at = _forming_time(int(series.timestamp[-1]), now.timestamp, version.contract.interval)
    with_bar = _with_forming(series, now.forming.bar, at)
    return with_bar.slice(max(0, len(with_bar) - _needed(version)), len(with_bar))


def _overridden(
    found: NewestStep, forming: FormingStep, version: LoadedVersion
) -> NDArray[np.float64]:
    """Return the features (window, n_features) with what the caller gives for the newest step."""
    values, close = found.values.copy(), float(found.series.close[-1])
    names = version.contract.feature_names
    for given, value in forming.overrides.items():
        alias = columns.alias_of(given, version.feature_set)
        values[-1, names.index(alias.feature)] = columns.in_feature_unit(value, alias, close)
    return values


def _refusal(symbol: str, values: NDArray[np.float64], version: LoadedVersion) -> MLEngineError:
    """Name the first feature that is not finite, or the largest one that no model can take."""
    names = version.contract.feature_names
    if not np.isfinite(values).all():
        feature = names[int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])]
        problem = f"feature {feature!r} cannot be computed from the newest bars"
        hint = f"give all of {', '.join(version.feature_set.needs)}"
        return BarsError(problem, symbol, hint)
    largest = np.abs(values).max(axis=0)
    feature = names[int(largest.argmax())]
    return ValueRangeError(f"{symbol}.{feature}", float(largest.max()))


def _forming_time(end: int, timestamp: datetime | None, interval: str) -> int:
    if timestamp is None:
        return end + parse_interval(interval) // MICROSECOND
    at = to_microseconds(timestamp)
    if at <= end:
        expected = f"a time after the last bar held, {from_microseconds(end).isoformat()}"
        raise ParameterError("timestamp", timestamp.isoformat(), expected)
    return at


def _with_forming(series: BarSeries, bar: Mapping[str, float], at: int) -> BarSeries:
    """Return the series with one more bar; a column that was not given is NaN."""
    arrays = {
        name: np.append(getattr(series, name), bar.get(name, np.nan))
        for name in SCHEMA
        if name not in ("symbol", "timestamp")
    }
    stamps = np.append(series.timestamp, at)
    return BarSeries(series.symbol, stamps, revision=series.revision, **arrays)


FORM = Form(gather, rows_are_features=True)
