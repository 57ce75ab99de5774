"""Costs by hand, and their laws."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.method.costs import (
    EQUITY,
    PRESETS,
    CostSpec,
    Market,
    amounts,
    break_even_cost,
    charge,
    cost_grid,
    costs_of,
    recharged,
    unnamed,
)

SPEC = CostSpec(0.001, 0.0005, 0.0005, 0.5, 1_000_000.0, 0.0252)
POSITIONS = np.array([[1.0], [-0.5], [-0.5]])


def market(returns, volume=np.nan, spread=np.nan, sigma=0.02):
    returns = np.asarray(returns, dtype=float)
    full = [np.full(returns.shape, v) for v in (sigma, spread, volume)]
    return Market(returns, *full)


def test_net_return_by_hand_without_volume():
    report = charge(POSITIONS, market([[0.01], [0.02], [-0.04]]), SPEC, 252)
    # gross 1*1%, -0.5*2%, -0.5*-4%; 20 bp on a turnover of 1, 1.5, 0; borrow 0.0252/252 on 0.5
    assert report.gross == pytest.approx([0.01, -0.01, 0.02])
    assert report.turnover == pytest.approx([1.0, 1.5, 0.0])
    assert report.trading == pytest.approx([0.002, 0.003, 0.0])
    assert report.borrow == pytest.approx([0.0, 0.00005, 0.00005])
    assert report.impact is None
    assert report.net() == pytest.approx([0.008, -0.01305, 0.01995])
    assert report.net(2) == pytest.approx([0.006, -0.0161, 0.0199])


def test_impact_by_hand():
    # k sigma sqrt(|Q|/ADV) |dpos| = 0.5 * 0.02 * sqrt(1e6/4e6) * 1 = 0.005 for the first trade
    report = charge(POSITIONS, market([[0.0]] * 3, volume=4e6), SPEC, 252)
    assert report.impact == pytest.approx([0.005, 0.01 * np.sqrt(1.5e6 / 4e6) * 1.5, 0.0])


def test_measured_spread_replaces_the_assumed_one_where_it_is_known():
    known = market([[0.0]] * 3)
    spread = np.array([[0.01], [np.nan], [np.nan]])
    found = charge(
        POSITIONS, Market(known.returns, known.sigma, spread, known.dollar_volume), SPEC, 252
    )
    assert found.trading == pytest.approx([0.011, 0.003, 0.0])


def test_a_crossed_quote_is_no_rebate():
    crossed = charge(POSITIONS, market([[0.0]] * 3, spread=-0.01), SPEC, 252)
    assumed = charge(POSITIONS, market([[0.0]] * 3), SPEC, 252)
    assert crossed.trading == pytest.approx(assumed.trading)


def test_closes_only_position_earns_the_return_two_bars_later():
    # Decided at the close of t-2, filled at the close of t-1, earning close t-1 -> t.
    close = np.array([100.0, 101.0, 103.0, 99.0, 104.0, 100.0])
    decided = np.array([1.0, 0.0, -1.0, 1.0, 0.0, 0.0])
    bar_returns = np.diff(close, prepend=np.nan) / np.concatenate(([np.nan], close[:-1]))
    by_bar = sum(decided[t - 2] * bar_returns[t] for t in range(2, 6))
    fill = np.append(close[1:], np.nan)
    next_return = np.append(fill[1:], np.nan) / fill - 1
    report = charge(decided[:, None], market(next_return[:, None]), SPEC, 252)
    assert report.gross.sum() == pytest.approx(by_bar)


def test_grid_falls_with_the_multiple_and_starts_gross():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1, 1, (500, 3)) / 3
    report = charge(positions, market(0.01 * rng.standard_normal((500, 3))), SPEC, 252)
    grid = cost_grid(report, 252)
    assert [point.multiple for point in grid] == [0, 1, 2, 3]
    wealth = float(np.prod(1 + report.gross))
    assert grid[0].return_per_year == pytest.approx(wealth ** (252 / 500) - 1)
    assert sorted((p.return_per_year for p in grid), reverse=True) == [
        p.return_per_year for p in grid
    ]


def test_break_even_cost_makes_the_net_return_zero():
    report = charge(POSITIONS, market([[0.01], [0.02], [-0.01]]), SPEC, 252)
    cost = break_even_cost(report)
    assert (report.gross - report.borrow - cost * report.turnover).sum() == pytest.approx(0.0)
    flat = charge(np.zeros((3, 1)), market([[0.01]] * 3), SPEC, 252)
    assert break_even_cost(flat) is None


def test_spec_survives_its_json_form():
    assert CostSpec.from_json(EQUITY.to_json()) == EQUITY


def test_every_preset_costs_something_and_survives_json():
    for name, spec in PRESETS.items():
        assert CostSpec.from_json(spec.to_json()) == spec, name
        priced = replace(market([[0.0]] * 3, volume=1e12), close=np.full((3, 1), 4000.0))
        assert charge(POSITIONS, priced, spec, 252).net().sum() < -0.0002, name
    assert set(EQUITY.to_json()) == set(SPEC.to_json())  # stored specs of 0.2 stay the same text


def test_funding_is_paid_by_either_side():
    spec = CostSpec(0, 0, 0, 0, 1e6, 0, funding_per_year=0.252)
    report = charge(np.array([[1.0], [-1.0], [0.0]]), market([[0.0]] * 3), spec, 252)
    assert report.borrow == pytest.approx([0.001, 0.001, 0.0])


def test_a_future_pays_by_the_contract():
    # 2.50 a contract of 50 times 4,000 is 2.5 / 200,000 of what is traded
    spec = CostSpec(0, 0, 0, 0, 1e6, 0, multiplier=50, fee_per_contract=2.5)
    priced = replace(market([[0.0]] * 3), close=np.array([[4000.0], [4000.0], [np.nan]]))
    assert charge(POSITIONS, priced, spec, 252).trading == pytest.approx([1.25e-5, 1.875e-5, 0.0])
    leaving = np.array([[1.0], [1.0], [0.0]])  # without a price that day the lowest known counts
    assert charge(leaving, priced, spec, 252).trading[2] == pytest.approx(1.25e-5)
    unpriced = charge(POSITIONS, market([[0.0]] * 3), spec, 252)
    assert np.isinf(unpriced.trading[:2]).all()


def test_volume_in_contracts_is_worth_the_multiplier():
    one = charge(POSITIONS, market([[0.0]] * 3, volume=4e6), SPEC, 252)
    fifty = replace(SPEC, multiplier=50)
    assert charge(POSITIONS, market([[0.0]] * 3, volume=8e4), fifty, 252).impact == pytest.approx(
        one.impact
    )


def test_options_change_single_costs_of_the_named_instrument():
    assert costs_of({}) == costs_of({"instrument": "", "fee": None}) == EQUITY
    perpetual = costs_of({"instrument": "crypto_perpetual", "fee": 0.0002})
    assert perpetual == replace(PRESETS["crypto_perpetual"], fee=0.0002)
    assert perpetual.funding_per_year > 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "nobody said what is traded"),
        ({"instrument": ""}, "nobody said what is traded"),
        ({"instrument": "future", "multiplier": None}, "units of its contract"),
        ({"instrument": "future", "multiplier": 50.0}, ""),
        ({"instrument": "fx"}, ""),
    ],
)
def test_costs_are_known_where_the_instrument_is_named(options, why):
    assert why in unnamed(options)
    assert bool(unnamed(options)) == bool(why)


@pytest.mark.parametrize("name", [*PRESETS])
def test_costs_are_rates_times_amounts_so_that_returns_can_be_charged_again(name):
    rng = np.random.default_rng(1)
    shape = (40, 3)
    positions = rng.standard_normal(shape)
    spread = np.where(rng.random(shape) < 0.3, np.nan, 0.001 * rng.standard_normal(shape))
    volume = np.where(rng.random(shape) < 0.2, 0.0, 1e7 * rng.random(shape))
    sigma = np.where(rng.random(shape) < 0.1, np.nan, 0.02)
    met = Market(0.01 * rng.standard_normal(shape), sigma, spread, volume, 50 + rng.random(shape))
    spec = replace(PRESETS[name], multiplier=50.0 if name == "future" else 1.0)
    cheap = charge(positions, met, PRESETS["fx"], 252)
    assert cheap.amounts.keys() == amounts(positions, met).keys() == spec.rates(252).keys()
    again = recharged(cheap.gross, cheap.amounts, spec.rates(252))
    np.testing.assert_allclose(again, charge(positions, met, spec, 252).net(), atol=1e-12)
