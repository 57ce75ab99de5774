"""The validated excess: its mean, and how far means over 63 times vary."""

import numpy as np
import pytest

from pipelines.method.rows import OutOfFold
from pipelines.recipes.excess import deviation_of_means, validated_excess_row
from registry.decoder import Decoder
from tests.examples import make_labelled_rows

DAY = 86_400_000_000


class Losses:
    """A template whose losses are the first score and the target."""

    def loss(self, rows, scores, decoder):
        return scores[:, 0].astype(np.float64) + decoder.facts["more"]

    def baseline_loss(self, rows, decoder=None):
        return rows.y


def out_of_fold(loss: np.ndarray, n_symbols: int = 2) -> OutOfFold:
    """Each loss at one time, of two symbols that deviate from it either way; baseline loss 1."""
    n = len(loss) * n_symbols
    t0 = np.repeat(np.arange(len(loss)) * DAY, n_symbols)
    symbol = np.tile(np.arange(n_symbols, dtype=np.int32), len(loss))
    rows = make_labelled_rows(
        n, y=np.ones(n), t0=t0, t1=t0 + DAY, symbol=symbol, symbols=("A", "B")
    )
    apart = np.where(symbol == 0, 5.0, -5.0)
    scores = (np.repeat(loss, n_symbols) + apart).astype(np.float32)[:, None]
    fold = (t0 >= t0[n // 2]).astype(np.int64)
    return OutOfFold(rows, scores, fold)


def test_the_row_holds_the_mean_and_one_deviation_above_it():
    loss = np.random.default_rng(0).standard_normal(10 * 63 + 7)
    decoders = {0: Decoder({"more": 0.25}), 1: Decoder({"more": 0.5})}
    row = validated_excess_row(Losses(), out_of_fold(loss), decoders, 1)
    first = np.arange(len(loss)) < (len(loss) // 2)
    excess = loss + np.where(first, 0.25, 0.5) - 1
    assert row.gate == "monitoring.excess" and row.passed
    assert row.value == pytest.approx(excess.mean(), abs=1e-3)
    means = excess[7:].reshape(10, 63).mean(axis=1)
    assert row.limit - row.value == pytest.approx(means.std(ddof=1), rel=1e-3)


def test_few_times_take_the_deviation_from_the_long_run_and_fewer_say_so():
    series = np.random.default_rng(1).standard_normal((2000, 200))
    found = np.median([deviation_of_means(row, 1) for row in series[:200]])
    assert found == pytest.approx(1 / np.sqrt(63), rel=0.1)
    assert deviation_of_means(series[0, :20], 1) is None
    assert deviation_of_means(np.zeros(63 * 9), 1) is None
    few = validated_excess_row(
        Losses(),
        out_of_fold(series[0, :20]),
        {0: Decoder({"more": 0.0}), 1: Decoder({"more": 0.0})},
        1,
    )
    assert few.value is None and "20 times are too few" in few.note
