"""Scores of forecasts, probabilities and returns. Numpy and polars only.

Losses come per row, so that callers average them per date, symbol or fold; a mean that leaves
rows out says which.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.errors import ShapeError

Array = NDArray[np.float64]
N_BINS = 15
FEW_BINS = 5
ROWS_FOR_ALL_BINS = 3000
LEAST_BLOCK = 21
"""Fewest dates of a bootstrap block: a month of daily bars."""
MICROSECONDS_PER_YEAR = 365.25 * 86_400e6
LEAST_HOLE = 10 * 86_400e6
HOLE_SPACINGS = 20


# Variance forecasts ----------------------------------------------------------------------------


def log_score(forecast: Array, realised: Array) -> Array:
    """Return ln f + rv/f per row: finite at rv = 0, ranks as QLIKE does (Patton 2011)."""
    return np.asarray(np.log(forecast) + realised / forecast, dtype=np.float64)


def qlike(forecast: Array, realised: Array) -> Array:
    """Return rv/f - ln(rv/f) - 1 per row, 0 when exact; NaN where rv is not positive."""
    ratio = np.where(realised > 0, realised / forecast, np.nan)
    return np.asarray(ratio - np.log(ratio) - 1, dtype=np.float64)


# Probabilities ---------------------------------------------------------------------------------


def log_loss(probabilities: Array, classes: Array) -> Array:
    """Return -ln p(class) per row.

    Args:
        probabilities: (n, n_classes), rows summing to 1.
        classes: (n,) class numbers.
    """
    chosen = probabilities[np.arange(len(classes)), classes.astype(np.intp)]
    return np.asarray(-np.log(np.maximum(chosen, 1e-300)), dtype=np.float64)


def binary_log_loss(probability: Array, hit: Array) -> Array:
    """Return -ln of the probability given to the outcome, per row.

    Args:
        probability: (n,) forecast of the event.
        hit: (n,) 1 where it happened, else 0.
    """
    chosen = np.where(hit == 1, probability, 1 - probability)
    return np.asarray(-np.log(np.maximum(chosen, 1e-300)), dtype=np.float64)


def brier(probabilities: Array, classes: Array) -> Array:
    """Return the sum over classes of (p - indicator)^2 per row, in [0, 2]."""
    indicator = np.eye(probabilities.shape[1])[classes.astype(np.intp)]
    return np.asarray(((probabilities - indicator) ** 2).sum(axis=1), dtype=np.float64)


def area_under_curve(score: Array, is_class: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney, ties count a half); None for one class."""
    n_in, n_out = int(is_class.sum()), int((~is_class).sum())
    if not n_in or not n_out:
        return None
    rank = pl.Series(score).rank("average").to_numpy()
    return float((rank[is_class].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out))


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Murphy's decomposition (1973) of a binary Brier score over bins.

    score == reliability - resolution + uncertainty + within, where `within` is what the spread of
    forecasts inside the bins adds (Stephenson, Coelho and Jolliffe 2008).
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(confidence: Array, hit: Array, n_bins: int = N_BINS) -> BrierParts:
    """Decompose the Brier score of a binary forecast over equal-mass bins.

    Args:
        confidence: (n,) forecast probability of the event.
        hit: (n,) 1 where it happened, else 0.
    """
    bins = equal_mass_bins(confidence, n_bins)
    count = np.bincount(bins).astype(np.float64)
    forecast = np.bincount(bins, confidence) / count
    observed = np.bincount(bins, hit) / count
    base, share = float(hit.mean()), count / count.sum()
    score = float(((confidence - hit) ** 2).mean())
    reliability = float((share * (forecast - observed) ** 2).sum())
    resolution = float((share * (observed - base) ** 2).sum())
    uncertainty = base * (1 - base)
    within = score - (reliability - resolution + uncertainty)
    return BrierParts(score, reliability, resolution, uncertainty, within)


def equal_mass_bins(confidence: Array, n_bins: int = N_BINS) -> NDArray[np.intp]:
    """Return the bin of each row, 0 .. at most n_bins - 1, each holding about n / n_bins rows.

    Equal confidences share a bin, so ties give fewer and larger bins; no bin is empty.
    """
    if not len(confidence):
        raise ShapeError("confidence", "at least one row", "none")
    inner = np.quantile(confidence, np.arange(1, n_bins) / n_bins)
    raw = np.searchsorted(np.unique(inner), confidence, side="left")
    return np.asarray(np.unique(raw, return_inverse=True)[1], dtype=np.intp)


def calibration_error(confidence: Array, hit: Array, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error (Guo et al. 2017) over equal-mass bins."""
    bins = equal_mass_bins(confidence, n_bins)
    return float(np.abs(np.bincount(bins, confidence - hit)).sum() / len(confidence))


@dataclass(frozen=True, slots=True)
class ErrorInterval:
    """Expected calibration error with a two-sided 90 % bootstrap interval, in [0, 1].

    `upper` is the one-sided 95 % bound. `n_bins` are those asked for; ties may leave fewer.
    """

    estimate: float
    lower: float
    upper: float
    n_bins: int = N_BINS


def bins_for(n_rows: int) -> int:
    """Return the bins of a calibration error: 5 below 3,000 rows, 15 from there.

    A bin of few rows is off by chance alone, and every bin adds that to the error.
    """
    return N_BINS if n_rows >= ROWS_FOR_ALL_BINS else FEW_BINS


def calibration_error_interval(
    confidence: Array,
    hit: Array,
    t0: NDArray[np.int64],
    *,
    block: int = LEAST_BLOCK,
    repetitions: int = 400,
    seed: int = 0,
) -> ErrorInterval:
    """Return ECE over `bins_for` equal-mass bins, with its block-bootstrap interval.

    Circular blocks of `block` dates are drawn (all symbols of a date together); bins stay those
    of the whole sample. The interval is the basic (reflected) one, cut to [0, 1]: resampling adds
    to an absolute error what sampling has already added, and reflection removes it.
    """
    asked = bins_for(len(confidence))
    bins = equal_mass_bins(confidence, asked)
    dates, date = np.unique(t0, return_inverse=True)
    n_dates, n_bins = len(dates), int(bins.max()) + 1
    cell, shape = date * n_bins + bins, (n_dates, n_bins)
    gap = np.bincount(cell, confidence - hit, n_dates * n_bins).reshape(shape).astype(np.float64)
    count = np.bincount(date, minlength=n_dates).astype(np.float64)
    estimate = float(np.abs(gap.sum(axis=0)).sum() / len(confidence))
    length = min(block, n_dates)
    n_blocks = math.ceil(n_dates / length)
    wrap = np.concatenate((np.arange(n_dates), np.arange(length - 1)))
    gap_sum = _window_sums(gap[wrap], length)
    count_sum = _window_sums(count[wrap][:, None], length)[:, 0]
    starts = np.random.default_rng(seed).integers(0, n_dates, (repetitions, n_blocks))
    drawn = np.abs(gap_sum[starts].sum(axis=1)).sum(axis=1) / count_sum[starts].sum(axis=1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    bounds = np.clip((2 * estimate - high, 2 * estimate - low), 0.0, 1.0)
    return ErrorInterval(estimate, float(bounds[0]), float(bounds[1]), asked)


def _window_sums(values: Array, length: int) -> Array:
    total = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)))
    return np.asarray(total[length:] - total[:-length], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean over rows with a two-sided 90 % bootstrap interval."""

    estimate: float
    lower: float
    upper: float


def mean_interval(
    values: Array,
    t0: NDArray[np.int64],
    *,
    block: int = LEAST_BLOCK,
    repetitions: int = 2000,
    seed: int = 0,
) -> MeanInterval:
    """Return the mean of values over rows with its block-bootstrap interval.

    Circular blocks of `block` dates are drawn, all rows of a date together (Politis and Romano
    1992); the interval is the basic (reflected) one.
    """
    dates, date = np.unique(t0, return_inverse=True)
    n_dates = len(dates)
    length = min(block, n_dates)
    count = np.bincount(date).astype(np.float64)
    columns = np.stack((np.bincount(date, values), count), axis=1).astype(np.float64)
    wrap = np.concatenate((np.arange(n_dates), np.arange(length - 1)))
    sums = _window_sums(columns[wrap], length)
    shape = (repetitions, math.ceil(n_dates / length))
    starts = np.random.default_rng(seed).integers(0, n_dates, shape)
    drawn = sums[starts].sum(axis=1)
    estimate = float(values.mean())
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.05, 0.95))
    return MeanInterval(estimate, float(2 * estimate - high), float(2 * estimate - low))


def block_dates(horizon_bars: int) -> int:
    """Return the dates of a bootstrap block for labels of h bars: 21, twice h where that is more.

    Labels of h bars overlap, which correlates what neighbouring dates show up to h - 1 dates apart.
    """
    return max(LEAST_BLOCK, 2 * horizon_bars)


def reliability_table(confidence: Array, hit: Array, n_bins: int = N_BINS) -> pl.DataFrame:
    """Return one line per equal-mass bin: confidence, frequency (both means), n_rows."""
    bins = equal_mass_bins(confidence, n_bins)
    count = np.bincount(bins)
    return pl.DataFrame(
        {
            "confidence": np.bincount(bins, confidence) / count,
            "frequency": np.bincount(bins, hit) / count,
            "n_rows": count,
        }
    )


def confusion(actual: Array, predicted: Array, names: tuple[str, ...]) -> pl.DataFrame:
    """Return counts: one line per actual class (`realised`), one column per predicted class.

    Args:
        actual, predicted: (n,) class numbers into `names`.
    """
    k = len(names)
    pair = actual.astype(np.intp) * k + predicted.astype(np.intp)
    counts = np.bincount(pair, minlength=k * k).reshape(k, k)
    return pl.DataFrame({"realised": names} | {name: counts[:, i] for i, name in enumerate(names)})


# Returns ---------------------------------------------------------------------------------------


def equity(returns: Array) -> Array:
    """Return the wealth after each period, starting from 1, of simple returns."""
    return np.asarray(np.cumprod(1 + returns), dtype=np.float64)


def drawdown(wealth: Array) -> Array:
    """Return wealth / highest wealth so far (the initial 1 included) - 1, at most 0."""
    peak = np.maximum(np.maximum.accumulate(wealth), 1.0)
    return np.asarray(wealth / peak - 1, dtype=np.float64)


def compound_return(returns: Array, per_year: float) -> float:
    """Return the compound return of a year: what a year's growth would have to be, minus 1.

    -1 where nothing was left at some point; 0 without returns.
    """
    if not len(returns):
        return 0.0
    if (returns <= -1).any():
        return -1.0
    return math.expm1(float(np.log1p(returns).mean()) * per_year)


def bars_per_year(t0: NDArray[np.int64], symbol: NDArray[np.int32]) -> float:
    """Return the number of bars in a year, counted on the symbol with the most rows.

    Counted rather than derived from the interval: a day of stocks is 1/252 of a year, a day of
    bitcoin 1/365, and only the data know.
    """
    times = np.sort(t0[symbol == np.bincount(symbol).argmax()])
    if len(times) < 2:
        raise ShapeError("rows to count the bars of a year", "at least 2", str(len(times)))
    return times_per_year(times)


def times_per_year(times: NDArray[np.int64]) -> float:
    """Return (n - 1) / (elapsed - holes), per year.

    A hole is a gap above ten days and above 20 times the median spacing, less one spacing: a file
    of which years are missing has as many bars in a year as the whole one.

    Args:
        times: at least two, ascending, int64 microseconds UTC.
    """
    gaps = np.diff(times).astype(np.float64)
    spacing = float(np.median(gaps))
    holes = gaps[gaps > max(LEAST_HOLE, HOLE_SPACINGS * spacing)] - spacing
    elapsed = float(times[-1] - times[0]) - float(holes.sum())
    return len(gaps) * MICROSECONDS_PER_YEAR / elapsed
