"""Processor time of the prediction log per row: `python -m bench.prediction_log`.

Requests of 1, 20 and 1,000 rows of 45 features and 3 scores are handed over as the engine does it,
with the answers of `trading_signals`, and written with everything that follows from it: frames,
files, merges. `total` is the time of the whole process, `request` that of the thread that hands
over, before it answers. Full speed fills whole files of PREDICTION_LOG_BATCH_ROWS; a server that
is asked rarely writes a file per interval instead, which `flush_of_1_row_us` shows.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from bench.figures import Figure, report
from monitoring.prediction_files import write_file
from monitoring.prediction_log import PredictionLog
from monitoring.prediction_rows import LoggedPredictions, frame_of
from monitoring.settings import PredictionLogSettings
from pipelines.templates import TEMPLATES
from registry.command_line import run
from serving.app import GC_THRESHOLDS
from serving.computation import Computation
from serving.forms import ModelInput, Provenance
from serving.predictions import Served, logged
from serving.router import Route

N_FEATURES, N_SCORES = 45, 3
SIZES = (1, 20, 1000)
ROUTE = Route(cast(Any, SimpleNamespace(flavor="onnx", backend="cpu")))
VERSION: Any = SimpleNamespace(
    model_id="bench",
    number=1,
    template=TEMPLATES.get("trading_signals"),
    contract=SimpleNamespace(label_spec={}, feature_names=[f"f{i}" for i in range(N_FEATURES)]),
)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    quick = parser.parse_args().quick
    n_rows = 20_000 if quick else 200_000
    gc.freeze()  # as the server does
    gc.set_threshold(*GC_THRESHOLDS)
    figures = [figure for size in SIZES for figure in _hand_over(size, n_rows)]
    report("prediction_log", [*figures, _one_flush()], {"quick": quick, "n_rows": n_rows})


def _hand_over(size: int, n_rows: int) -> Iterator[Figure]:
    calls = [_call(size, seed) for seed in range(16)]
    n_requests = n_rows // size
    with tempfile.TemporaryDirectory() as directory:
        log = PredictionLog(Path(directory), PredictionLogSettings())
        log.append(_logged(calls[0]))
        began, of_thread = time.process_time(), time.thread_time()
        for i in range(n_requests):
            log.append(_logged(calls[i % len(calls)]))
            while log.waiting > 20_000:
                time.sleep(0.001)
        of_thread = time.thread_time() - of_thread
        log.close()
        took = time.process_time() - began
        assert log.dropped == 0
    note = f"{n_requests} requests"
    yield Figure(f"total_of_{size}_us_per_row", took / n_rows * 1e6, "us", note)
    yield Figure(f"request_of_{size}_us_per_row", of_thread / n_rows * 1e6, "us", note)


def _one_flush() -> Figure:
    given, n = _logged(_call(1, 0)), 200
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        for _ in range(n):
            write_file(Path(directory), frame_of([given]))
        took = (time.process_time() - began) / n
    return Figure("flush_of_1_row_us", took * 1e6, "us", f"mean of {n}; a file with one row")


def _logged(call: Computation) -> LoggedPredictions:
    return logged(call, VERSION, [Served("id", 1, list(call.answers))])


def _call(size: int, seed: int) -> Computation:
    rng = np.random.default_rng(seed)
    at = datetime(2026, 11, 30, tzinfo=UTC)
    keys = tuple(f"S{i:04}" for i in range(size))
    return Computation(
        ModelInput(
            keys=keys,
            X=rng.standard_normal((size, N_FEATURES)).astype(np.float32),
            context={},
            provenance=(Provenance(at, at, "adjusted"),) * size,
            errors={},
            ignored=(),
            form="bars",
        ),
        rng.standard_normal((size, N_SCORES)).astype(np.float32),
        {key: _answer(rng, at) for key in keys},
        {},
        ROUTE,
        0.001,
    )


def _answer(rng: np.random.Generator, at: datetime) -> dict[str, Any]:
    down, flat, up = rng.dirichlet(np.ones(3)).tolist()
    return {
        "signal": "BUY",
        "confidence": up,
        "probabilities": {"SELL": down, "HOLD": flat, "BUY": up},
        "expected_return": 0.01 * float(rng.standard_normal()),
        "prediction_set": ["HOLD", "BUY"],
        "target_price": 100 + float(rng.standard_normal()),
        "in_range": 0.97,
        "abstained": None,
        "as_of": at,
        "history_end": at,
        "price_basis": "adjusted",
    }


if __name__ == "__main__":
    run(main)
