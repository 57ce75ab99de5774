"""Evidence of the tests of the report: one small table of every kind, and a contract."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.report import Evidence
from pipelines.report.artifacts import SCHEMA
from registry.contract import ModelContract
from registry.gates import GateRow

N = 600
TIMES = [datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(N)]
OLD = Path(__file__).resolve().parents[2] / "data/0.1.0/cache/old_trees/1-b5e19450221b"


@pytest.fixture(scope="session")
def net() -> np.ndarray:
    """Simple net returns, skewed and fat-tailed."""
    rng = np.random.default_rng(4)
    return 0.0006 + 0.01 * rng.standard_t(4, N)


@pytest.fixture(scope="session")
def tables(net) -> dict[str, pl.DataFrame]:
    wave = np.sin(np.arange(N) / 30) / 10
    starts, ends = [TIMES[0], TIMES[300], TIMES[305]], [TIMES[299], TIMES[304], TIMES[-1]]
    return {
        "equity": pl.DataFrame(
            {
                "timestamp": TIMES,
                "net": np.log(np.cumprod(1 + net)),
                "gross": np.log(np.cumprod(1 + net + 1e-4)),
                "buy_and_hold": wave,
            }
        ),
        "cost_grid": pl.DataFrame({"multiple": [0, 1, 2, 3], "sharpe": [0.9, 0.4, -0.1, -0.5]}),
        "trials": pl.DataFrame({"sharpe_per_period": [0.01, -0.02, 0.03]}),
        "pbo": pl.DataFrame(
            {"logit": [-1.0, 0.0, 1.0, 2.0], "chosen_sharpe": [0.1] * 4,
             "realised_sharpe": [-0.1, 0.0, 0.1, 0.2]}
        ),
        "choice_loss": pl.DataFrame(
            {"chosen_sharpe": [0.1] * 4, "realised_sharpe": [-0.1, 0.0, 0.1, 0.2]}
        ),
        "reliability": pl.DataFrame(
            {"confidence": [0.3, 0.5, 0.9], "frequency": [0.2, 0.6, 0.8], "n_rows": [50, 60, 40]}
        ),
        "confusion": pl.DataFrame({"realised": ["SELL", "BUY"], "SELL": [5, 1], "BUY": [3, 9]}),
        "coverage": pl.DataFrame(
            {"fold": [0, 1, 2], "n_rows": [90, 90, 90], "coverage": [None, 0.88, 0.93],
             "nominal": [0.9] * 3}
        ),
        "coverage_over_time": pl.DataFrame(
            {"timestamp": TIMES, "split": 0.9 + wave / 5, "adaptive": 0.9 + wave / 9,
             "nominal": [0.9] * N}
        ),
        "qlike_per_year": pl.DataFrame(
            {"year": [2019, 2019, 2020, 2020], "model": ["ewma", "forecast"] * 2,
             "qlike": [0.5, 0.4, 0.7, 0.6]}
        ),
        "error_per_year": pl.DataFrame({"year": [2020], "model": ["forecast"], "error": [0.9]}),
        "likelihood_per_year": pl.DataFrame(
            {"year": [2020], "model": ["regimes"], "log_likelihood": [3.1]}
        ),
        "rivals": pl.DataFrame({"model": ["ewma"], "qlike": [0.5], "t": [-3.0]}),
        "by_forecast": pl.DataFrame({"forecast": [0.1, 0.2], "realised": [0.1, 0.3]}),
        "forecast_vs_realised": pl.DataFrame(
            {"timestamp": TIMES, "realised": 0.02 + wave / 10, "forecast": 0.02 + wave / 12,
             "ewma": 0.02 + wave / 14}
        ),
        "information_decay": pl.DataFrame(
            {"horizon_bars": [1, 5], "ic": [0.03, 0.01], "rank_ic": [0.02, 0.0]}
        ),
        "challenge": pl.DataFrame(
            {"timestamp": TIMES[:3], "champion": [2.0, 2.0, 2.0], "challenger": [1.5, 2.5, 1.0],
             "baseline": [1.0, 1.0, 1.0]}
        ),
        "fold_map": pl.DataFrame(
            {"fold": [0, 0, 0], "part": ["train", "purged", "test"], "n_rows": [300, 5, 295],
             "start": starts, "end": ends}
        ),
        "importance": pl.DataFrame({"feature": ["a", "b"], "importance": [0.7, 0.3]}),
        "returns": pl.DataFrame(
            {"timestamp": TIMES, "net": net, "gross": net + 1e-4, "costs": [1e-4] * N,
             "turnover": [0.1] * N}
        ),
        "per_year": pl.DataFrame({"year": [2019, 2020], "turnover": [36.5, 23.5]}),
        "forecast_groups": pl.DataFrame(
            {"group": [0, 1], "forecast": [-0.1, 0.1], "realised": [-0.05, 0.02], "n_rows": [5, 5]}
        ),
        "regime_probabilities": pl.DataFrame(
            {"timestamp": TIMES, "calm": 0.5 + wave, "wild": 0.5 - wave}
        ),
        "regimes": pl.DataFrame({"regime": ["calm", "wild"], "volatility": [0.1, 0.3]}),
        "market": pl.DataFrame({"timestamp": TIMES, "log_index": wave}),
        "transitions": pl.DataFrame(
            {"regime": ["calm", "wild"], "calm": [0.9, 0.2], "wild": [0.1, 0.8]}
        ),
        "alarms_over_time": pl.DataFrame(
            {"timestamp": TIMES, "share": [0.0, 0.5] * (N // 2),
             "lowest_p_value": [0.4, 0.001] * (N // 2)}
        ),
        "alarms_per_year": pl.DataFrame(
            {"year": [2019, 2020], "rate": [0.01, 0.03], "n_rows": [365, 235], "stated": [0.02] * 2}
        ),
        "most_unusual": pl.DataFrame({"symbol": ["AAA"], "p_value": [0.0001]}),
        "var_over_time": pl.DataFrame(
            {"timestamp": TIMES, "loss": -net, "var": [0.02] * N, "shortfall": [0.03] * N,
             "hit": -net > 0.02}
        ),
        "hits_per_year": pl.DataFrame(
            {"year": [2019, 2020], "n_dates": [365, 235], "n_hits": [5, 9],
             "hit_rate": [0.0137, 0.0383], "expected_rate": [0.01, 0.01]}
        ),
        "per_symbol": pl.DataFrame({"symbol": ["AAA", "BBB"], "buy_share": [0.25, 0.5]}),
        "artifacts": pl.DataFrame(
            [("onnx.fp32", 9, 1e-7, 1e-5, 2e-6, 1.0, "2048 rows on cpu against native"),
             ("coreml.fp16", None, None, None, None, None, "dropped: 0.004, needs <= 0.002")],
            schema=SCHEMA, orient="row",
        ),
        "files": pl.DataFrame({"file": ["onnx/model.onnx"], "bytes": [9]}),
    }  # fmt: skip


@pytest.fixture(scope="session")
def evidence(tables, net) -> Evidence:
    """Evidence with every table there is a panel for."""
    facts = json.loads((OLD / "contract.json").read_text())
    contract = ModelContract.from_json(json.dumps(facts))
    contract = replace(contract, template="trading_signals", model_id="signals")
    record = (
        GateRow("causality", 0.0, "<=", 1e-9, "4 cuts"),
        GateRow("edge.dsr", 0.4, ">=", 0.95, "3 trials"),
        GateRow("edge.choice_loss", None, "<", 0.25, "too few trials"),
        GateRow("edge.coverage", None, "between", (0.88, 0.92), "no interval", applicable=False),
    )
    metrics = {
        "n_trials": 3.0,
        "deflated_sharpe": 0.4,
        "expected_max_sharpe": 0.02,
        "choice_loss": 0.25,
        "pbo": 0.5,
        "log_loss": 1.0,
        "log_loss_prior": 1.1,
        "t_log_loss": -2.0,
        "dm_t_ewma": -3.0,
        "qlike": 0.4,
        "qlike_ewma": 0.5,
        "ece": 0.02,
        "kupiec_p": 0.3,
        "break_even_cost": 0.00012,
    }
    return Evidence(contract, record, metrics, tables, "run", returns=net, champion=1)
