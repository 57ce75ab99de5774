"""Answers of `volatility_forecast`: a volatility per day and per year, with an interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Interval, Meaning
from pipelines.templates.answer_frames import constant, numbers, struct
from registry.contract import Json

NO_EWMA = "the EWMA variance of the row is not known"


@dataclass(frozen=True, slots=True)
class VolatilityForecastAnswer:
    """How volatile the next bars will be."""

    forecast_variance: Annotated[
        float | None,
        Meaning(
            "mean variance per bar over the horizon, in the proxy's unit",
            "squared log return",
            NO_EWMA,
        ),
    ]
    volatility_daily: Annotated[
        float | None,
        Meaning(
            "its square root per day; bars of a day are counted on the training rows",
            "fraction",
            NO_EWMA,
        ),
    ]
    volatility_annualised: Annotated[
        float | None,
        Meaning(
            "its square root per year; bars of a year are counted on the training rows (a year of "
            "stocks has about 252 daily bars, a year of bitcoin 365)",
            "fraction",
            NO_EWMA,
        ),
    ]
    interval: Annotated[
        Interval | None,
        Meaning(
            "of the volatility that will be *realised* over the horizon, annualised; split "
            "conformal on realised / forecast variance of earlier out-of-fold rows",
            "fraction",
            f"{NO_EWMA}, or there are too few earlier rows",
        ),
    ]
    baseline_volatility: Annotated[
        float | None,
        Meaning("EWMA(0.94) of squared log returns, annualised", "fraction", NO_EWMA),
    ]


UNKNOWN = VolatilityForecastAnswer(None, None, None, None, None)


def forecast(ewma: float, growth: float, facts: Mapping[str, Json]) -> VolatilityForecastAnswer:
    """Return the answer of one row.

    Args:
        ewma: EWMA variance per bar; NaN where it is not known.
        growth: forecast variance as a multiple of it.
        facts: of the version's decoder.
    """
    variance = growth * ewma
    if not math.isfinite(variance):
        return UNKNOWN
    year, day = number(facts, "bars_per_year"), number(facts, "bars_per_day")
    return VolatilityForecastAnswer(
        forecast_variance=variance,
        volatility_daily=math.sqrt(variance * day),
        volatility_annualised=math.sqrt(variance * year),
        interval=_interval(variance * year, facts),
        baseline_volatility=math.sqrt(ewma * year),
    )


def forecast_frame(
    ewma: NDArray[np.float64], growth: NDArray[np.float64], facts: Mapping[str, Json]
) -> pl.DataFrame:
    """Return the answers of `forecast` as columns, of (n,) each."""
    with np.errstate(over="ignore"):
        variance = growth * ewma
    is_known = np.isfinite(variance)
    variance, ewma = np.where(is_known, variance, np.nan), np.where(is_known, ewma, np.nan)
    year, day = number(facts, "bars_per_year"), number(facts, "bars_per_day")
    return pl.DataFrame(
        [
            numbers("forecast_variance", variance),
            numbers("volatility_daily", np.sqrt(variance * day)),
            numbers("volatility_annualised", np.sqrt(variance * year)),
            _intervals(variance * year, is_known, facts),
            numbers("baseline_volatility", np.sqrt(ewma * year)),
        ]
    )


def number(facts: Mapping[str, Json], name: str) -> float:
    """Return a number of a decoder."""
    return float(cast(float, facts[name]))


def _interval(variance: float, facts: Mapping[str, Json]) -> Interval | None:
    if facts["ratio_lower"] is None or facts["ratio_upper"] is None:
        return None
    lower, upper = number(facts, "ratio_lower"), number(facts, "ratio_upper")
    return Interval(
        lower=math.sqrt(variance * lower),
        upper=math.sqrt(variance * upper),
        level=number(facts, "level"),
    )


def _intervals(
    variance: NDArray[np.float64], is_known: NDArray[np.bool_], facts: Mapping[str, Json]
) -> pl.Series:
    n_rows, has_ratios = len(variance), None not in (facts["ratio_lower"], facts["ratio_upper"])
    ratios = [number(facts, f"ratio_{end}") if has_ratios else np.nan for end in ("lower", "upper")]
    ends = [
        numbers(end, np.sqrt(variance * ratio))
        for end, ratio in zip(("lower", "upper"), ratios, strict=True)
    ]
    level = constant("level", facts["level"], pl.Float64(), n_rows)
    return struct("interval", [*ends, level], is_known & has_ratios)
