"""The position that is judged against one that is replayed by hand, bar by bar."""

import numpy as np
import pytest

from pipelines.data.bars import BarSeries
from pipelines.method.labels import ewma_deviation
from pipelines.method.rows import concatenate
from pipelines.method.strategy import make_panel, positions
from pipelines.templates.trading_signals.labels import label_signals
from tests.examples import make_labelled_rows

N, HORIZON, WIDTH, DAY = 400, 5, 0.35, 86_400_000_000
SYMBOLS = ("A", "B", "C")
OPENS = {"fill": "next_open", "path": "high_low"}
CLOSES = {"fill": "next_close", "path": "close"}
MIXED = {"fill": "next_close", "path": "high_low"}


def bars_of(symbol):
    """A random walk with overnight gaps and wicks."""
    rng = np.random.default_rng(SYMBOLS.index(symbol))
    gap, day = 0.006 * rng.standard_normal(N), 0.01 * rng.standard_normal(N)
    close = 50 * np.exp(np.cumsum(gap + day))
    opened = close * np.exp(-day)
    high = np.maximum(opened, close) * np.exp(0.004 * rng.random(N))
    low = np.minimum(opened, close) * np.exp(-0.004 * rng.random(N))
    unknown = np.full(N, np.nan)
    times = np.arange(N, dtype=np.int64) * DAY
    return BarSeries(symbol, times, opened, high, low, close, unknown, unknown, unknown)


class Replay:
    """One symbol traded bar by bar: orders are filled at the next fill, decisions end by hand.

    Knows nothing of labels: it watches the prices of each open decision as a trader would.
    """

    def __init__(self, bars, spec, sigma, has_barriers):
        self.bars, self.spec, self.sigma = bars, spec, sigma
        self.has_barriers = has_barriers
        self.ordered, self.held, self.leaving = [], [], []

    def run(self, decision):
        """Return the sum of open decisions after the fill of each bar's decision."""
        at_open = self.spec["fill"] == "next_open"
        after_fill = np.zeros(N + 1)
        for t in range(N):
            after_fill[t] = self.fill(t, (self.bars.open if at_open else self.bars.close)[t])
            self.watch(t, newest=t - 1 if at_open else t - 2)
            self.ordered = [(t, decision[t])]
        return after_fill

    def fill(self, t, price):
        """Leave what was touched or has lived its bars, enter what was ordered."""
        self.held = [h for h in self.held if h not in self.leaving]
        self.held = [h for h in self.held if t - h[0] <= HORIZON]
        for made, side in self.ordered:
            width = WIDTH * self.sigma[made] * HORIZON**0.5
            self.held.append((made, side, price * np.exp(-width), price * np.exp(width)))
        return sum(h[1] for h in self.held)

    def watch(self, t, newest):
        """Order out, at the next fill, every decision whose barrier this bar touched.

        `newest`: the newest decision that lived through the bar; one filled at its close did not.
        """
        in_range = self.spec["path"] == "high_low"
        low = self.bars.low[t] if in_range else self.bars.close[t]
        high = self.bars.high[t] if in_range else self.bars.close[t]
        lived = [h for h in self.held if h[0] <= newest and self.has_barriers]
        self.leaving = [h for h in lived if low <= h[2] or high >= h[3]]


def labelled(bars, sigma, spec):
    found = label_signals(bars, sigma, spec | {"horizon_bars": HORIZON, "width": WIDTH})
    known = np.isfinite(found.y)
    empty = np.full(N, np.nan)
    rows = make_labelled_rows(
        N,
        y=found.y,
        t0=bars.timestamp,
        t1=found.t1,
        context={"sigma": sigma, "half_spread": empty, "dollar_volume": empty},
        outcome=found.outcome,
        symbol=np.full(N, SYMBOLS.index(bars.symbol), dtype=np.int32),
        symbols=SYMBOLS,
    )
    return rows.take(known), known


@pytest.mark.parametrize("spec", [OPENS, CLOSES, MIXED], ids=["opens", "closes", "mixed"])
@pytest.mark.parametrize("kind", ["triple_barrier", "fixed_horizon"])
def test_the_position_judged_equals_one_replayed_bar_by_bar(spec, kind):
    parts, decided, by_hand, touched = [], [], [], 0
    for symbol in SYMBOLS:
        bars, rng = bars_of(symbol), np.random.default_rng(99 + SYMBOLS.index(symbol))
        sigma = ewma_deviation(bars.close)
        rows, known = labelled(bars, sigma, spec | {"kind": kind})
        decision = np.where(known, rng.integers(-1, 2, N), 0).astype(float)
        replay = Replay(bars, spec, sigma, has_barriers=kind == "triple_barrier")
        by_hand.append(replay.run(decision)[1:])  # the decision of t is filled in bar t + 1
        parts.append(rows)
        decided.append(decision[known])
        touched += int((rows.outcome["left_at"] - rows.t0 < HORIZON * DAY).sum())
    panel = make_panel(concatenate(parts))
    found = positions(panel, np.concatenate(decided), HORIZON) * HORIZON * len(SYMBOLS)
    lines = panel.dates // DAY
    expected = np.column_stack(by_hand)[lines]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (touched > 300) == (kind == "triple_barrier")
    assert np.abs(found).max() > 1


def test_no_decision_is_left_before_the_bar_of_its_touch_has_closed():
    bars = bars_of("A")
    rows, _ = labelled(bars, ewma_deviation(bars.close), OPENS)
    assert (rows.outcome["left_at"] >= rows.t1).all()  # the fill after it is later still
    assert (rows.outcome["left_at"] == rows.t1).mean() > 0.9
