"""Requests about a portfolio: positions -> its weights, for one model call.

Weights are taken as they are and must sum to 1. When no position has a weight, weights are made of
`shares` times the last close held. A negative weight or number of shares is a short position. The
whole portfolio is one answer, so an error of one position is an error of the request.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import from_microseconds
from pipelines.templates.portfolio_risk.answers import USUAL, check_measures
from registry.errors import (
    ParameterError,
    UnknownSymbolError,
    ValueRangeError,
    WeightsError,
)
from serving.forms import (
    Form,
    ModelInput,
    OnlineStore,
    Predictions,
    Provenance,
    check_horizon,
    distinct,
)
from serving.loading import LoadedVersion
from serving.schemas import PortfolioResponse, Position, PredictRequest, RiskAssessment

KEY = "portfolio"
"""The name of the one answer."""
TOLERANCE = 1e-3
"""How far from 1 weights may sum, for weights rounded to a tenth of a percent."""
LARGEST_WEIGHT = 1e6


def gather(
    request: PredictRequest, version: LoadedVersion, online: OnlineStore, max_rows: int
) -> ModelInput:
    """Return the weights of the request's portfolio, in the order of the version's symbols.

    Raises:
        ParameterError: no portfolio, a symbol twice, a measure that is not known, or positions of
            which some have weights and others only shares.
        UnknownSymbolError: a symbol that the version's training data do not have.
        NoHistoryError: shares of a symbol without any bar held.
        WeightsError: weights that do not sum to 1.
        HorizonError: another horizon than the version's.
    """
    if request.portfolio is None:
        text = "positions, like {'positions': [{'symbol': ..., 'weight': ...}]}"
        raise ParameterError("portfolio", None, text)
    contract, positions = version.contract, request.portfolio.positions
    check_horizon(request.time_horizon, version)
    symbols = distinct([position.symbol for position in positions], max_rows)
    for symbol in symbols:
        if symbol not in contract.symbols:
            where = f"the returns that {version.model_id} v{version.number} was made from"
            raise UnknownSymbolError(symbol, where, contract.symbols)
    n_scenarios = contract.outputs.shape[1] or 0
    names = check_measures(request.risk_metrics or USUAL, n_scenarios)
    weights, source, ignored = _weights(positions, version, online)
    X = np.zeros((1, len(contract.symbols)), np.float32)
    X[0, [contract.symbols.index(symbol) for symbol in symbols]] = weights
    context = {name: np.ones(1) for name in names}
    return ModelInput((KEY,), X, context, (source,), {}, ignored, "portfolio")


def assessment(predictions: Predictions) -> dict[str, Any]:
    """Return what stands beside `predictions.portfolio`: its usual measures and its interval."""
    answer = predictions.get(KEY, {})
    measures = {name: answer.get(name) for name in RiskAssessment.model_fields}
    return {"risk_assessment": measures, "confidence_interval": answer.get("interval")}


def _weights(
    positions: Sequence[Position], version: LoadedVersion, online: OnlineStore
) -> tuple[NDArray[np.float64], Provenance, tuple[str, ...]]:
    """Return one weight per position, the bars they come from, and what was not used."""
    made_until = _utc(version.contract.data.end)
    given = [position.weight is not None for position in positions]
    if all(given):
        weights = np.array([position.weight for position in positions], dtype=np.float64)
        ignored = tuple(
            f"portfolio.positions[{i}].shares (weight is given)"
            for i, position in enumerate(positions)
            if position.shares is not None
        )
        return _checked(weights), Provenance(as_of=made_until), ignored
    lacking = next(p for p in positions if p.weight is None)
    if any(given) or any(p.shares is None for p in positions):
        expected = "a weight for every position, or shares for every position and no weight"
        raise ParameterError("portfolio.positions", lacking.symbol, expected)
    weights, source = _of_shares(positions, version, online)
    return _checked(weights), source, ()


def _of_shares(
    positions: Sequence[Position], version: LoadedVersion, online: OnlineStore
) -> tuple[NDArray[np.float64], Provenance]:
    """Return weights made of shares and the last closes held."""
    look = online.history.look(version.contract.interval)
    values, ends, bases = [], [], set()
    for position in positions:
        held = look.newest(position.symbol, 1)
        if held is None:
            raise look.absent(position.symbol)
        values.append(float(position.shares or 0.0) * float(held.series.close[-1]))
        ends.append(int(held.series.timestamp[-1]))
        bases.add(held.price_basis)
    total = sum(values)
    if not total > 0:
        expected = "positions that are worth more than nothing in total, at the last closes"
        raise ValueRangeError("portfolio value", total, expected)
    source = Provenance(_utc(version.contract.data.end), from_microseconds(min(ends)), bases.pop())
    return np.asarray(values) / total, source


def _checked(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total, largest = float(weights.sum()), float(np.abs(weights).max())
    if largest > LARGEST_WEIGHT:
        raise ValueRangeError("weight", largest, f"at most {LARGEST_WEIGHT:g} either way")
    if not abs(total - 1) <= TOLERANCE:
        raise WeightsError(total, TOLERANCE)
    return weights


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


FORM = Form(gather, ("portfolio",), response=PortfolioResponse, beside=assessment)
