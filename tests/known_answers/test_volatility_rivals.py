"""A market with leverage, simulated from a GJR-GARCH: what beats EWMA there need not be good.

The model is EWMA drawn a quarter of the way to its mean, in logarithms. It beats EWMA and scaled
EWMA, and loses to what generated the returns.
"""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.data.bars import BarSeries
from pipelines.method.rows import OutOfFold, concatenate
from pipelines.recipes.rivals import RIVALS
from pipelines.templates import TEMPLATES
from tests.examples import make_labelled_rows

TEMPLATE = TEMPLATES.get("volatility_forecast")
SPEC = {"horizon_bars": 5, "proxy": "mean squared close-to-close log return"}
SYMBOLS = ("A", "B", "C")
DAY, N, FIRST, BLOCK = 86_400_000_000, 5000, 1500, 700
OMEGA, ALPHA, GAMMA, BETA = 2e-6, 0.02, 0.16, 0.88


def simulated(symbol: str, number: int) -> BarSeries:
    """Closes whose log returns follow GJR-GARCH(1,1), one bar a day."""
    shocks = np.random.default_rng([0, number]).standard_normal(N)
    returns, variance = np.empty(N), OMEGA / (1 - ALPHA - GAMMA / 2 - BETA)
    for t, shock in enumerate(shocks):
        returns[t] = variance**0.5 * shock
        variance = OMEGA + (ALPHA + GAMMA * (shock < 0)) * returns[t] ** 2 + BETA * variance
    unknown = np.full(N, np.nan)
    close, stamps = 100 * np.exp(np.cumsum(returns)), np.arange(N, dtype=np.int64) * DAY
    return BarSeries(symbol, stamps, unknown, unknown, unknown, close, unknown, unknown, unknown)


def rows_of(series: BarSeries, number: int):
    context = TEMPLATE.context(series)
    labels = TEMPLATE.label(series, context, SPEC)
    at = np.flatnonzero(np.isfinite(labels.y))
    known = {name: values[at] for name, values in context.items()}
    target, fit = TEMPLATE.target(labels.y[at], known)
    return make_labelled_rows(
        len(at),
        y=labels.y[at],
        target=target,
        context=known,
        outcome={name: values[at] for name, values in labels.outcome.items()},
        symbol=np.full(len(at), number, dtype=np.int32),
        symbols=SYMBOLS,
        t0=series.timestamp[at],
        t1=labels.t1[at],
        fit=fit,
    )


@pytest.mark.slow
def test_a_model_that_beats_ewma_is_refused_for_what_gjr_garch_knows():
    every = [simulated(symbol, k) for k, symbol in enumerate(SYMBOLS)]
    rows = concatenate([rows_of(series, k) for k, series in enumerate(every)])
    rows = rows.take(np.lexsort((rows.symbol, rows.t0)))
    ewma, typical = rows.context["ewma_variance"], rows.y[rows.t0 < FIRST * DAY].mean()
    forecast = ewma**0.75 * typical**0.25
    scores = np.log(forecast / ewma)[:, None].astype(np.float32)
    tested = np.flatnonzero(rows.t0 >= FIRST * DAY)
    fold = (rows.t0[tested] // DAY - FIRST) // BLOCK
    oof = OutOfFold(rows.take(tested), scores[tested], fold)
    rival = RIVALS["gjr_garch"](oof, rows, every, 5)
    decoders = {
        int(f): TEMPLATE.fit_decoder(
            oof.take(fold < f), rows.take(rows.t1 < (FIRST + f * BLOCK) * DAY)
        )
        for f in np.unique(fold)
    }
    outcome = {**oof.rows.outcome, "rival.gjr_garch": rival}
    oof = replace(oof, rows=replace(oof.rows, outcome=outcome))
    gates = {row.gate: row for row in TEMPLATE.evaluate(oof, decoders, SPEC, "1d").gates}
    refused = {name for name, row in gates.items() if not row.passed}
    assert refused == {"quality.not_worse_than_har", "quality.not_worse_than_gjr_garch"}
    assert gates["quality.not_worse_than_gjr_garch"].value == pytest.approx(0.053, abs=0.01)
