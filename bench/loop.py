"""The closed loop's times: serving start to ready, `main`, one prediction, one drift run.

Starts its own MLflow and serving on free ports in a temporary directory, so it disturbs nothing
that runs. `--quick` uses four symbols and eight years instead of twenty and seventeen.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from bench.figures import Figure, report, spread
from demo.market import Replay
from demo.processes import ROOT, stop, wait_for

MODEL = "volatility_forecast"
QUICK = {"symbols": "AAPL,JPM,KO,MSFT", "start": "1999-01-01", "end": "2006-12-31"}
FULL = {"end": "2006-12-31"}
N_DAYS = 45


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.loop", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, smaller data")
    quick = parser.parse_args().quick
    with TemporaryDirectory() as folder:
        environment = _environment(Path(folder))
        figures = list(_measure(QUICK if quick else FULL, environment, Path(folder)))
    report("loop", figures, {"quick": quick})


def _measure(data: dict[str, str], environment: dict[str, str], folder: Path) -> Iterator[Figure]:
    tracking = environment["MLFLOW_TRACKING_URI"]
    url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
    with _process("registry.tracking_server", environment, folder, f"{tracking}/health"):
        parameters = {"template": MODEL, "promote": "true", **data}
        yield Figure(
            "main_s", _mlflow_run("main", parameters, environment), "s", "mlflow run, cold"
        )
        started = time.perf_counter()
        with _process("serving.app", environment, folder, f"{url}/health"):
            yield Figure("serving_ready_s", time.perf_counter() - started, "s", "start to /health")
            with httpx.Client(base_url=url, timeout=60) as client:
                yield from _predictions(client, Replay.of_sample(), data)
        seconds = _mlflow_run("drift", {"model_name": MODEL}, environment)
        yield Figure("drift_s", seconds, "s", "mlflow run of stage drift, newest window")


def _predictions(client: httpx.Client, replay: Replay, data: dict[str, str]) -> Iterator[Figure]:
    wanted = set(data["symbols"].split(",")) if "symbols" in data else None
    chosen = [b for b in replay.history(data["end"]) if not wanted or b["symbol"] in wanted]
    symbols = sorted({str(bar["symbol"]) for bar in chosen})
    started = time.perf_counter()
    for at in range(0, len(chosen), 20_000):
        _post_bars(client, chosen[at : at + 20_000])
    taken = time.perf_counter() - started
    yield Figure("post_bars_per_s", len(chosen) / taken, "bars/s", f"{len(chosen):,} in bulk")
    _wait_for_model(client)
    one = [_predict_ms(client, symbols[:1]) for _ in range(50)]
    yield Figure("predict_1_symbol_ms", float(np.median(one)), "ms", spread(one))
    every = [_predict_ms(client, symbols) for _ in range(50)]
    yield Figure(f"predict_{len(symbols)}_symbols_ms", float(np.median(every)), "ms", spread(every))
    day_ms = []
    for _, bars in list(replay.days("2007-01-01", "2007-12-31"))[:N_DAYS]:
        kept = [b for b in bars if not wanted or b["symbol"] in wanted]
        began = time.perf_counter()
        _post_bars(client, kept)
        day_ms.append((time.perf_counter() - began) * 1e3)
        _predict_ms(client, symbols)
    yield Figure("post_day_ms", float(np.median(day_ms)), "ms", spread(day_ms))


def _post_bars(client: httpx.Client, bars: list[Any]) -> None:
    body = {"bars": bars, "interval": "1d", "price_basis": "adjusted"}
    client.post("/bars", json=body).raise_for_status()


def _predict_ms(client: httpx.Client, symbols: list[str]) -> float:
    began = time.perf_counter()
    client.post("/predict", json={"model": MODEL, "symbols": symbols}).raise_for_status()
    return (time.perf_counter() - began) * 1e3


def _wait_for_model(client: httpx.Client) -> None:
    for _ in range(100):
        if client.post("/predict", json={"model": MODEL, "symbols": ["AAPL"]}).is_success:
            return
        time.sleep(0.2)
    sys.exit("serving did not load the model")


def _mlflow_run(entry_point: str, parameters: dict[str, str], environment: dict[str, str]) -> float:
    given = [part for k, v in parameters.items() for part in ("-P", f"{k}={v}")]
    line = ["mlflow", "run", ".", "-e", entry_point, "--env-manager", "local", *given]
    began = time.perf_counter()
    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"mlflow run {entry_point} failed: {(done.stdout + done.stderr)[-2000:]}")
    return time.perf_counter() - began


@contextmanager
def _process(
    module: str, environment: dict[str, str], folder: Path, ready_url: str
) -> Iterator[None]:
    with (folder / f"{module}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(ready_url, 90, {module: process}, folder)
        yield
    finally:
        stop({module: process})


def _environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {
        "PATH": path,
        "DATA_DIR": str(folder),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{_free_port()}",
        "ML_ENGINE_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
