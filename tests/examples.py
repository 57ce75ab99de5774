"""One complete example of each value that tests build by hand: contract, rows, gate record.

A test names only what matters to it (`make_contract(symbols=("AAA",))`); the rest is the same
everywhere. Made versions with real fits are fixtures of the packages' conftest files.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitoring.prediction_rows import LoggedPredictions
from pipelines.data.bars import to_microseconds
from pipelines.method.rows import LabelledRows
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input
from registry.gates import GateRow


def make_contract(n_scores: int = 1, **changes: Any) -> ModelContract:
    """A contract of a volatility forecast over two features.

    `inputs` and `outputs` follow from feature names, window and `n_scores`.
    """
    facts = {
        "model_id": "volatility_forecast",
        "template": "volatility_forecast",
        "architecture": "xgboost",
        "feature_set": "close_only",
        "feature_names": ("return_1", "volatility_5"),
        "feature_fingerprint": "f" * 64,
        "window": 1,
        "horizon": "5d",
        "horizon_bars": 5,
        "interval": "1d",
        "min_history": 30,
        "symbols": ("AAPL", "MSFT"),
        "price_basis": "adjusted",
        "native_format": "xgboost-ubj",
        "label_spec": {},
        "cost_spec": {},
        "parameters": {},
        "data": DataSpan("sample", "d" * 64, "1990-01-02", "2006-12-29", 8572, "survivors only"),
        "trained_until": "2006-12-29T00:00:00+00:00",
        "seed": 7,
        "git_commit": "c" * 40,
        "lock_sha256": "e" * 64,
        "created_at": "2026-01-01T00:00:00+00:00",
    } | changes
    tensors = {
        "inputs": tensor_input(len(facts["feature_names"]), facts["window"]),
        "outputs": TensorSpec("scores", "float32", (None, n_scores)),
    }
    return ModelContract(**(tensors | facts))


def make_labelled_rows(n: int, **changes: Any) -> LabelledRows:
    """`n` rows of one symbol, a microsecond apart, each known at the next; all zeros.

    `target` is `y` and `t1` follows `t0` unless they are given.
    """
    facts = {
        "X": np.zeros((n, 1), dtype=np.float32),
        "y": np.zeros(n),
        "context": {},
        "outcome": {},
        "symbol": np.zeros(n, dtype=np.int32),
        "symbols": ("A",),
        "t0": np.arange(n, dtype=np.int64),
        "fit": np.ones(n, dtype=bool),
    } | changes
    return LabelledRows(**({"target": facts["y"], "t1": facts["t0"] + 1} | facts))


def parity_rows() -> list[GateRow]:
    """The parity rows of a version with a native and an ONNX file."""
    absent = [f"parity.{flavor}.fp32" for flavor in ("torchscript", "coreml")]
    return [
        GateRow("parity.native.fp32", 0.0, "<=", 0.0),
        GateRow("parity.onnx.fp32", 1e-7, "<=", 1e-5),
        *(GateRow(gate, None, "<=", 1e-5, "left out", applicable=False) for gate in absent),
    ]


def plausible_rows() -> list[GateRow]:
    """The plausibility rows of a volatility forecast on bars of closes."""
    return [
        GateRow("plausibility.r2", 0.4, "<=", 0.85),
        GateRow("plausibility.opens", None, ">=", 0.6, "no opens", applicable=False),
        GateRow("plausibility.ranges", None, "<=", 0.1, "no ranges", applicable=False),
        GateRow("plausibility.columns", 0.0, "<=", 0.0),
    ]


def passing_record(comparison: str | None = None) -> list[GateRow]:
    """A gate record that opens the serve lock of a volatility forecast.

    `comparison` names the gate against a champion (`better` or `non_inferior`), if there is one.
    """
    record = [
        GateRow("data.checks", 0.0, "<=", 0.0),
        GateRow("causality", 0.0, "<=", 1e-9),
        GateRow("feature_parity", 1e-9, "<=", 1e-6),
        GateRow("golden_rows", 1e-7, "<=", 1e-5),
        GateRow("golden_answers", 0.0, "<=", 0.0),
        *parity_rows(),
        GateRow("quality.dm_ewma", -4.9, "<", -1.645),
        GateRow("quality.dm_scaled_ewma", -3.1, "<", -1.645),
        GateRow("quality.bias", 1.02, "between", (0.8, 1.25)),
        GateRow("quality.qlike_vs_ewma", -0.05, "<", 0.0),
        GateRow("quality.not_worse_than_har", 0.001, "<=", 0.02),
        GateRow("quality.not_worse_than_gjr_garch", -0.01, "<=", 0.02),
        *plausible_rows(),
    ]
    if comparison:
        record.append(GateRow(f"champion.{comparison}", 0.001, "<", 0.01, against=1))
    return record


def failing_record(comparison: str | None = None) -> list[GateRow]:
    """The same with one gate of quality failed."""
    return [
        GateRow("quality.dm_ewma", -1.2, "<", -1.645) if row.gate == "quality.dm_ewma" else row
        for row in passing_record(comparison)
    ]


def make_logged(*rows: Mapping[str, Any]) -> LoggedPredictions:
    """The answers of one model call, from rows as the prediction log reads them back.

    What rows of a call share is that of the first one.
    """
    first = rows[0]
    shared = ("model_id", "version", "flavor", "backend", "source_kind")
    return LoggedPredictions(
        **{name: first[name] for name in shared},
        served_us=to_microseconds(first["served_at"]),
        request_ids=[row["request_id"] for row in rows],
        latencies_ms=[row["latency_ms"] for row in rows],
        symbols=[row["symbol"] for row in rows],
        as_of=[row["as_of"] for row in rows],
        features=np.array([row["features"] for row in rows], dtype=np.float32),
        scores=np.array([row["scores"] for row in rows], dtype=np.float32),
        answers=[json.loads(row["answer"]) for row in rows],
    )
