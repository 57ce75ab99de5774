"""Feature set `cross_section`: `close_only`, and what all symbols of a universe tell together.

The one panel set: it sees every symbol at once. A timestamp counts where at least 10 symbols have a
bar with a return; the market is the equal-weighted mean of their log returns, and every window
runs over such timestamps. A row elsewhere, or of a symbol without a bar there, is NaN.

Nothing is carried from bar to bar: `compute_panel` is asked again with the bars that are there.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, RequestAlias
from pipelines.data.features import indicators as ind
from registry.errors import TooFewSymbolsError

CLOSE_ONLY = FEATURE_SETS.get("close_only")

MIN_SYMBOLS = 10
RATIO_OFFSET = 0.0025
"""Added to variance ratios before the logarithm, as in `close_only`."""

RANKED = (
    *(f"scaled_return_{bars}" for bars in (1, 5, 22, 66, 252)),
    "log_ewma_variance",
    "drawdown_252",
)
EXCESS_BARS = (1, 5, 22)
VARIANCE_BARS = (5, 22, 66)
BETA_BARS = 66
BETA_LEAST = 44
"""Returns a symbol must have among the newest 66 of the market for a beta."""

MARKET_NAMES = (
    *(f"market_scaled_return_{bars}" for bars in EXCESS_BARS),
    "log_market_ewma_variance",
    *(f"log_market_variance_{bars}" for bars in VARIANCE_BARS),
    "log_mean_variance",
    "log_dispersion_1",
    "log_dispersion_22",
)
OWN_NAMES = (
    *(f"rank_{name}" for name in RANKED),
    "log_variance_to_mean",
    "log_variance_to_market",
    *(f"excess_return_{bars}" for bars in EXCESS_BARS),
    "beta_66",
    "correlation_66",
)
TAKEN = tuple(CLOSE_ONLY.feature_names.index(name) for name in RANKED)
SCALED = tuple(RANKED.index(f"scaled_return_{bars}") for bars in EXCESS_BARS)
VARIANCE = RANKED.index("log_ewma_variance")


class CrossSection:
    """The set; see `docs/features.md` for each feature's formula."""

    name = "cross_section"
    feature_names = (*CLOSE_ONLY.feature_names, *MARKET_NAMES, *OWN_NAMES)
    needs: tuple[str, ...] = ("close",)
    instead = ""
    needs_trades = False
    min_history = CLOSE_ONLY.min_history
    min_symbols = MIN_SYMBOLS

    def __init__(self) -> None:
        own = {name: RequestAlias(name) for name in self.feature_names}
        self.aliases: Mapping[str, RequestAlias] = {**CLOSE_ONLY.aliases, **own}

    def compute(self, series: BarSeries) -> NoReturn:
        """Refuse: one symbol has no cross-section.

        Raises:
            TooFewSymbolsError: always.
        """
        raise TooFewSymbolsError(self.name, MIN_SYMBOLS, (series.symbol,))

    def stream(self, series: BarSeries) -> NoReturn:
        """Refuse: one symbol has no cross-section.

        Raises:
            TooFewSymbolsError: always.
        """
        raise TooFewSymbolsError(self.name, MIN_SYMBOLS, (series.symbol,))

    def compute_panel(self, series: Sequence[BarSeries]) -> list[ind.Array]:
        """Return the features of every symbol, (n_bars, n_features) each, in the order given.

        Raises:
            TooFewSymbolsError: fewer than 10 symbols.
        """
        if len(series) < MIN_SYMBOLS:
            raise TooFewSymbolsError(self.name, MIN_SYMBOLS, [one.symbol for one in series])
        rows = [CLOSE_ONLY.compute(one) for one in series]
        taken, returns, is_panel, places = aligned(series, rows)
        market = market_features(taken, returns)
        own = own_features(taken, returns, market)
        found = []
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            out = np.full((len(row), len(self.feature_names)), np.nan)
            out[:, : row.shape[1]] = row
            panel = np.full((len(is_panel), len(MARKET_NAMES) + len(OWN_NAMES)), np.nan)
            panel[is_panel] = np.concatenate([market, own[:, i]], axis=1)
            out[:, row.shape[1] :] = panel[place]
            found.append(out)
        return found


def aligned(
    series: Sequence[BarSeries], rows: Sequence[ind.Array]
) -> tuple[ind.Array, ind.Array, NDArray[np.bool_], list[NDArray[np.intp]]]:
    """Return the columns `RANKED` and the returns at the panel's timestamps, and where they are.

    Args:
        rows: what `close_only` gives for each series.

    Returns:
        (7, n_times, n_symbols) and (n_times, n_symbols) at the panel's timestamps, bool
        (n_all_times,) which of all timestamps those are, and each series' places among all.
    """
    timeline = np.unique(np.concatenate([one.timestamp for one in series]))
    places = [np.searchsorted(timeline, one.timestamp) for one in series]
    returns = _spread([ind.log_returns(one.close) for one in series], places, len(timeline))
    is_panel = np.isfinite(returns).sum(axis=1) >= MIN_SYMBOLS
    taken = [_spread([row[:, c] for row in rows], places, len(timeline)) for c in TAKEN]
    return np.stack(taken)[:, is_panel], returns[is_panel], is_panel, places


def market_features(taken: ind.Array, returns: ind.Array) -> ind.Array:
    """Return the features that have one value per timestamp, (n_times, 10).

    Args:
        taken: (7, n_times, n_symbols), the columns `RANKED` of `close_only`; NaN without a bar.
        returns: (n_times, n_symbols) log returns, at least 10 of them in each row.
    """
    market = np.nanmean(returns, axis=1) if len(returns) else np.empty(0)
    variance = ind.ewma_variance(market)
    mean_variance = _mean(np.exp(taken[VARIANCE]))
    dispersion = np.nanmean((returns - market[:, None]) ** 2, axis=1)
    columns = [
        *(ind.rolling_sum(market, k) / np.sqrt(k * variance) for k in EXCESS_BARS),
        np.log(variance),
        *(np.log(ind.rolling_mean(market**2, k) / variance + RATIO_OFFSET) for k in VARIANCE_BARS),
        _mean(taken[VARIANCE]),
        np.log(dispersion / mean_variance + RATIO_OFFSET),
        np.log(ind.rolling_mean(dispersion, 22) / mean_variance + RATIO_OFFSET),
    ]
    return np.column_stack(columns)


def own_features(taken: ind.Array, returns: ind.Array, market: ind.Array) -> ind.Array:
    """Return the features that differ between symbols, (n_times, n_symbols, 14).

    `taken` and `market`, the result of `market_features`, are of the same timestamps; `returns`
    may begin earlier.
    """
    log_variance = taken[VARIANCE]
    log_market = market[:, MARKET_NAMES.index("log_market_ewma_variance"), None]
    excess = [
        taken[scaled] - market[:, i, None] * np.exp(0.5 * (log_market - log_variance))
        for i, scaled in enumerate(SCALED)
    ]
    columns = [
        *(rank_across(column) for column in taken),
        log_variance - market[:, MARKET_NAMES.index("log_mean_variance"), None],
        log_variance - log_market,
        *excess,
        *(column[len(returns) - len(market) :] for column in _beta(returns)),
    ]
    return np.stack(columns, axis=-1)


def rank_across(values: ind.Array) -> ind.Array:
    """Return (rank - 1/2) / n of each row's numbers, 0 to 1, equals sharing their mean rank.

    NaN where `values`, (n_times, n_symbols), are NaN, or fewer than 10 of the row are numbers.
    """
    out = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    known &= (known.sum(axis=1) >= MIN_SYMBOLS)[:, None]
    row = np.nonzero(known)[0]
    code = np.unique(values[known], return_inverse=True)[1]
    key = row * (code.max(initial=0) + 1) + code  # orders by row, then by value
    ordered, starts = np.sort(key), np.searchsorted(row, row)
    below = np.searchsorted(ordered, key, side="left") - starts
    upto = np.searchsorted(ordered, key, side="right") - starts
    out[known] = 0.5 * (below + upto) / known.sum(axis=1)[row]
    return out


def _beta(returns: ind.Array) -> tuple[ind.Array, ind.Array]:
    """Return slope on and correlation with the market over the newest 66 timestamps.

    0 where the market, or for the correlation the symbol, did not move.
    """
    known = np.isfinite(returns)
    y = np.where(known, returns, 0.0)
    x = np.where(known, np.nanmean(returns, axis=1)[:, None], 0.0) if len(returns) else y
    n, s_x, s_y, s_xx, s_xy, s_yy = (
        _summed(part) for part in (known.astype(float), x, y, x * x, x * y, y * y)
    )
    v_x, v_y, v_xy = n * s_xx - s_x**2, n * s_yy - s_y**2, n * s_xy - s_x * s_y
    v_x = np.where(v_x <= 1e-12 * n * s_xx, 0.0, v_x)
    v_y = np.where(v_y <= 1e-12 * n * s_yy, 0.0, v_y)
    enough = known & (n >= BETA_LEAST)
    beta = np.where(enough, ind.ratio(v_xy, v_x, 0.0), np.nan)
    correlation = np.where(enough, ind.ratio(v_xy, np.sqrt(v_x * v_y), 0.0), np.nan)
    return beta, correlation


def _summed(values: ind.Array) -> ind.Array:
    """Return sums over the newest 66 rows, fewer at the start; each window by itself."""
    if not len(values):
        return values
    ones = np.ones(BETA_BARS)
    return np.column_stack([np.convolve(column, ones)[: len(values)] for column in values.T])


def _mean(values: ind.Array) -> ind.Array:
    """Return the mean of each row's numbers; NaN where fewer than 10 are numbers."""
    known = np.isfinite(values)
    n = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(n >= MIN_SYMBOLS, total / np.maximum(n, 1), np.nan)


def _spread(
    columns: Sequence[ind.Array], places: Sequence[NDArray[np.intp]], n_times: int
) -> ind.Array:
    """Return (n_times, n_symbols), NaN where a symbol has no bar."""
    out = np.full((n_times, len(columns)), np.nan)
    for i, (column, place) in enumerate(zip(columns, places, strict=True)):
        out[place, i] = column
    return out


FEATURE_SET = CrossSection()
