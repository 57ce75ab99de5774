"""Compiled kernels of Alpha158: one row at a time, each window summed by itself.

All windows of a row end at its bar, so one walk back from the bar serves the five of them: sums
grow from the newest value on and are read at 5, 10, 20, 30 and 60 bars. Nothing is carried from
one row to the next: no running sum loses digits, and a streamed row is computed by the code that
computes the batch. Sums of squares are taken of differences from a value of the window, which
bounds what cancels by the window's length.

Arrays are float64 (n,) of one symbol, oldest first; `row` is one row of the output, (158,). A
window that reaches before the first bar has fewer values (min_periods = 1); NaN values do not
count. Imports numba: reached only from `Alpha158.rows`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

LONGEST = 60
FULL = 60
"""Row number from which every window, and the change before it, is whole."""

TINY = 1e-12
STILL = 2e-5

# First column of each group of five; the order is that of `alpha158.ROLLING`.
ROC, MA, STD, BETA, RSQR, RESI, MAX, MIN, QTLU, QTLD, RANK, RSV = range(13, 73, 5)
IMAX, IMIN, IMXD, CORR, CORD, CNTP, CNTN, CNTD, SUMP, SUMN, SUMD = range(73, 128, 5)
VMA, VSTD, WVMA, VSUMP, VSUMN, VSUMD = range(128, 158, 5)


@njit(cache=True, nogil=True, error_model="numpy")
def fill(
    opened: Array,
    high: Array,
    low: Array,
    close: Array,
    volume: Array,
    average: Array,
    first: int,
    out: Array,
) -> None:
    """Write the rows `first`, `first` + 1, ... to `out`, (n - first, 158)."""
    ratio, log_volume, log_ratio, weighted = _changes(close, volume)
    buffer = np.empty(LONGEST)
    for t in range(first, len(close)):
        row = out[t - first]
        _bar(opened[t], high[t], low[t], close[t], average[t], row)
        _trend(close, t, row)
        _order(close, t, row, buffer)
        _extremes(high, low, close, t, row)
        _counts(close, t, row)
        _share_of_rises(close, t, TINY * close[t], SUMP, row)
        _share_of_rises(volume, t, TINY, VSUMP, row)
        _correlation(close, log_volume, close[t], t, CORR, row)
        _correlation(ratio, log_ratio, 1.0, t, CORD, row)
        _volumes(volume, weighted, t, row)


@njit(cache=True, nogil=True, error_model="numpy")
def _changes(close: Array, volume: Array) -> tuple[Array, Array, Array, Array]:
    """Return close ratio, log(volume + 1), log(volume ratio + 1), |return| * volume; each (n,)."""
    n = len(close)
    ratio, log_ratio, weighted = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    log_volume = np.log(volume + 1.0)
    for t in range(1, n):
        ratio[t] = close[t] / close[t - 1]
        weighted[t] = abs(ratio[t] - 1.0) * volume[t]
        if volume[t - 1] != 0:  # a change from nothing has no size: missing
            log_ratio[t] = np.log(volume[t] / volume[t - 1] + 1.0)
    return ratio, log_volume, log_ratio, weighted


@njit(cache=True, nogil=True, error_model="numpy")
def _bar(o: float, h: float, low: float, c: float, average: float, row: Array) -> None:
    span = h - low + TINY * c
    top, bottom = max(o, c), min(o, c)
    row[0] = (c - o) / o
    row[1] = (h - low) / o
    row[2] = (c - o) / span
    row[3] = (h - top) / o
    row[4] = (h - top) / span
    row[5] = (bottom - low) / o
    row[6] = (bottom - low) / span
    row[7] = (2 * c - h - low) / o
    row[8] = (2 * c - h - low) / span
    row[9] = o / c
    row[10] = h / c
    row[11] = low / c
    row[12] = average / c


@njit(cache=True, nogil=True, error_model="numpy")
def _window(column: int) -> int:
    """Return the length of the window with this number, 0 to 4."""
    return (5, 10, 20, 30, 60)[column]


@njit(cache=True, nogil=True, error_model="numpy")
def _trend(close: Array, t: int, row: Array) -> None:
    """Rate of change, mean, deviation and the line through the closes, as shares of the newest.

    The line is over x = -k, k bars before the newest; `RESI` is the newest close above it.
    """
    newest = close[t]
    n, s_y, s_yy, s_xy = 0, 0.0, 0.0, 0.0
    for i in range(5):
        bars = _window(i)
        while n < min(bars, t + 1):
            y = close[t - n] / newest - 1.0
            s_y += y
            s_yy += y * y
            s_xy -= n * y
            n += 1
        s_x, s_xx = -0.5 * n * (n - 1), n * (n - 1) * (2 * n - 1) / 6.0
        v_x, v_y, v_xy = n * s_xx - s_x * s_x, n * s_yy - s_y * s_y, n * s_xy - s_x * s_y
        slope = v_xy / v_x
        deviation = np.sqrt(max(v_y, 0.0) / (n * (n - 1.0)))
        row[ROC + i] = close[t - bars] / newest if t >= bars else np.nan
        row[MA + i] = 1.0 + s_y / n
        row[STD + i] = deviation
        row[BETA + i] = slope
        row[RESI + i] = (slope * s_x - s_y) / n
        row[RSQR + i] = v_xy * v_xy / (v_x * v_y) if deviation > STILL else _flat(t)


@njit(cache=True, nogil=True, error_model="numpy")
def _flat(t: int) -> float:
    """Return the value of a relation in a flat window: 0, or NaN while it is not known yet."""
    return 0.0 if t >= FULL else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _order(close: Array, t: int, row: Array, ordered: Array) -> None:
    """Quantiles (linear between order statistics) and the newest close's rank (ties averaged)."""
    newest = close[t]
    n, n_below, n_equal = 0, 0, 0
    for i in range(5):
        while n < min(_window(i), t + 1):
            value = close[t - n]
            n_below += value < newest
            n_equal += value == newest
            at = n
            while at > 0 and ordered[at - 1] > value:
                ordered[at] = ordered[at - 1]
                at -= 1
            ordered[at] = value
            n += 1
        row[QTLU + i] = _quantile(ordered, n, 0.8) / newest
        row[QTLD + i] = _quantile(ordered, n, 0.2) / newest
        row[RANK + i] = (n_below + (n_equal + 1) / 2.0) / n


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(ordered: Array, n: int, share: float) -> float:
    position = share * (n - 1)
    at = int(position)
    if at + 1 >= n:
        return float(ordered[at])
    return float(ordered[at] + (ordered[at + 1] - ordered[at]) * (position - at))


@njit(cache=True, nogil=True, error_model="numpy")
def _extremes(high: Array, low: Array, close: Array, t: int, row: Array) -> None:
    """Highest high, lowest low, where in the window they are (the oldest of equals, from 1)."""
    n, top, bottom, top_at, bottom_at = 1, high[t], low[t], 0, 0
    newest = close[t]
    for i in range(5):
        bars = _window(i)
        while n < min(bars, t + 1):
            if high[t - n] >= top:
                top, top_at = high[t - n], n
            if low[t - n] <= bottom:
                bottom, bottom_at = low[t - n], n
            n += 1
        row[MAX + i] = top / newest
        row[MIN + i] = bottom / newest
        row[RSV + i] = (newest - bottom) / (top - bottom + TINY * newest)
        row[IMAX + i] = (n - top_at) / bars
        row[IMIN + i] = (n - bottom_at) / bars
        row[IMXD + i] = (bottom_at - top_at) / bars


@njit(cache=True, nogil=True, error_model="numpy")
def _counts(close: Array, t: int, row: Array) -> None:
    """Share of closes above and below the one before; the first bar counts as neither."""
    n, n_up, n_down = 0, 0, 0
    for i in range(5):
        while n < min(_window(i), t + 1):
            if n < t:
                n_up += close[t - n] > close[t - n - 1]
                n_down += close[t - n] < close[t - n - 1]
            n += 1
        row[CNTP + i] = n_up / n
        row[CNTN + i] = n_down / n
        row[CNTD + i] = n_up / n - n_down / n


@njit(cache=True, nogil=True, error_model="numpy")
def _share_of_rises(values: Array, t: int, tiny: float, column: int, row: Array) -> None:
    """Sum of rises and of falls over the sum of absolute changes, and their difference."""
    n, n_known, rises, falls = 0, 0, 0.0, 0.0
    for i in range(5):
        while n < min(_window(i), t):
            change = values[t - n] - values[t - n - 1]
            if change == change:  # not NaN
                n_known += 1
                rises += max(change, 0.0)
                falls += max(-change, 0.0)
            n += 1
        total = rises + falls + tiny if n_known else np.nan
        row[column + i] = rises / total
        row[column + 5 + i] = falls / total
        row[column + 10 + i] = (rises - falls) / total


@njit(cache=True, nogil=True, error_model="numpy")
def _correlation(left: Array, right: Array, unit: float, t: int, column: int, row: Array) -> None:
    """Pearson's correlation over the bars where both are known; `unit` divides `left`.

    None where either deviates by less than `STILL`; that of `left` is over all its bars.
    """
    from_x, from_y = left[t], np.nan
    n, n_x, m_x, m_xx = 0, 0, 0.0, 0.0
    n_xy, s_x, s_y, s_xx, s_yy, s_xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(5):
        while n < min(_window(i), t + 1):
            x, y = (left[t - n] - from_x) / unit, right[t - n]
            if x == x:
                n_x += 1
                m_x += x
                m_xx += x * x
                if y == y:
                    from_y = y if n_xy == 0 else from_y
                    y -= from_y
                    n_xy += 1
                    s_x += x
                    s_y += y
                    s_xx += x * x
                    s_yy += y * y
                    s_xy += x * y
            n += 1
        v_x, v_y = n_xy * s_xx - s_x * s_x, n_xy * s_yy - s_y * s_y
        least = STILL * STILL
        moves = (n_x * m_xx - m_x * m_x) > least * n_x * (n_x - 1.0)
        moves = moves and v_y > least * n_xy * (n_xy - 1.0) and v_x > 0
        joint = (n_xy * s_xy - s_x * s_y) / np.sqrt(v_x * v_y)
        row[column + i] = joint if moves else _flat(t)


@njit(cache=True, nogil=True, error_model="numpy")
def _volumes(volume: Array, weighted: Array, t: int, row: Array) -> None:
    """Mean and deviation of volume over the newest, and the deviation of volume-weighted moves."""
    n, unit = 0, volume[t] + TINY
    v_n, v_from, v_s, v_ss = 0, np.nan, 0.0, 0.0
    w_n, w_from, w_s, w_ss = 0, np.nan, 0.0, 0.0
    for i in range(5):
        while n < min(_window(i), t + 1):
            v_n, v_from, v_s, v_ss = _added(volume[t - n], v_n, v_from, v_s, v_ss)
            w_n, w_from, w_s, w_ss = _added(weighted[t - n], w_n, w_from, w_s, w_ss)
            n += 1
        row[VMA + i] = (v_from + v_s / v_n) / unit
        row[VSTD + i] = _deviation(v_n, v_s, v_ss) / unit
        row[WVMA + i] = _deviation(w_n, w_s, w_ss) / (w_from + w_s / w_n + TINY)


@njit(cache=True, nogil=True, error_model="numpy")
def _added(
    value: float, n: int, base: float, s: float, ss: float
) -> tuple[int, float, float, float]:
    """Return count, base and the sums of (squared) differences from it with one more value."""
    if value != value:
        return n, base, s, ss
    if n == 0:
        return 1, value, 0.0, 0.0
    difference = value - base
    return n + 1, base, s + difference, ss + difference * difference


@njit(cache=True, nogil=True, error_model="numpy")
def _deviation(n: int, s: float, ss: float) -> float:
    """Return the sample standard deviation; NaN of one value."""
    return float(np.sqrt(max(n * ss - s * s, 0.0) / (n * (n - 1.0))))
