"""The closed loop's times: serving start to ready, `main`, one prediction, one drift run.

Trains `volatility_forecast` on the sample bars until 2006 as the README does, with its own MLflow
and serving on free ports in a temporary directory, so it disturbs nothing that runs. Whole
processes are timed several times and the median is quoted; `--quick` times each of them once.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from bench.figures import Figure, report, spread
from demo.market import Replay
from demo.processes import ROOT, stop, wait_for
from registry.command_line import run

MODEL = "volatility_forecast"
MAIN = {"template": MODEL, "end": "2006-12-31", "promote": "true"}
REPEATS = 3
N_WARM = 300  # a process is busy with its own start for a few seconds
N_PREDICTIONS = 100
N_DAYS = 45


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.loop", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each process once, under a minute")
    quick = parser.parse_args().quick
    with TemporaryDirectory() as folder:
        figures = list(
            _measure(1 if quick else REPEATS, environment_of(Path(folder)), Path(folder))
        )
    report("loop", figures, {"quick": quick})


def _measure(repeats: int, environment: dict[str, str], folder: Path) -> Iterator[Figure]:
    tracking = environment["MLFLOW_TRACKING_URI"]
    with process("registry.tracking_server", environment, folder, f"{tracking}/health"):
        yield _median("main_s", repeats, lambda: mlflow_run("main", MAIN, environment))
        replay = Replay.of_sample()
        with _serving(environment, folder) as client:
            yield from _predictions(client, replay)
        yield _median("serving_ready_s", repeats, lambda: _start_serving(environment, folder))
        parameters = {"model_name": MODEL, "start": "2007-01-01"}
        yield _median("drift_s", 1, lambda: mlflow_run("drift", parameters, environment))


def _median(name: str, repeats: int, measured: Callable[[], float]) -> Figure:
    seconds = [measured() for _ in range(repeats)]
    note = f"median of {repeats}; min {min(seconds):.3g}, max {max(seconds):.3g}"
    return Figure(name, float(np.median(seconds)), "s", note)


def _predictions(client: httpx.Client, replay: Replay) -> Iterator[Figure]:
    history = replay.history(MAIN["end"])
    symbols = sorted({str(bar["symbol"]) for bar in history})
    began = time.perf_counter()
    for at in range(0, len(history), 20_000):
        _post_bars(client, history[at : at + 20_000])
    taken = time.perf_counter() - began
    yield Figure("post_bars_per_s", len(history) / taken, "bars/s", f"{len(history):,} in bulk")
    _wait_for_model(client)
    for _ in range(N_WARM):
        _predict_ms(client, symbols[:1])
    one = [_predict_ms(client, symbols[:1]) for _ in range(N_PREDICTIONS)]
    yield Figure("predict_1_symbol_ms", float(np.median(one)), "ms", spread(one))
    held = [_predict_ms(client, symbols) for _ in range(N_PREDICTIONS)]
    yield Figure("predict_20_symbols_ms", float(np.median(held)), "ms", spread(held))
    posted, fresh = [], []
    for _, bars in list(replay.days("2007-01-01", "2007-12-31"))[:N_DAYS]:
        began = time.perf_counter()
        _post_bars(client, bars)
        posted.append((time.perf_counter() - began) * 1e3)
        fresh.append(_predict_ms(client, symbols))
    yield Figure("post_20_bars_ms", float(np.median(posted)), "ms", spread(posted))
    note = f"{spread(fresh)}; right after each symbol's new bar"
    yield Figure("predict_20_new_bars_ms", float(np.median(fresh)), "ms", note)


def _post_bars(client: httpx.Client, bars: list[Any]) -> None:
    body = {"bars": bars, "interval": "1d", "price_basis": "adjusted"}
    client.post("/bars", json=body).raise_for_status()


def _predict_ms(client: httpx.Client, symbols: list[str]) -> float:
    began = time.perf_counter()
    client.post("/predict", json={"model": MODEL, "symbols": symbols}).raise_for_status()
    return (time.perf_counter() - began) * 1e3


def _wait_for_model(client: httpx.Client) -> None:
    """Wait until the version answers and its curves, measured after that, stand."""
    for _ in range(100):
        answer = client.get(f"/models/{MODEL}")
        loaded = answer.json().get("loaded", []) if answer.is_success else []
        if loaded and len(loaded[0]["curves"]) == len(loaded[0]["artifacts"]):
            return
        time.sleep(0.2)
    sys.exit(f"serving did not load the model: {answer.text[:1000]}")


def _start_serving(environment: dict[str, str], folder: Path) -> float:
    """Return the seconds from start to the first prediction, of a version already cached."""
    began = time.perf_counter()
    with _serving(environment, folder) as client:
        while not client.post("/predict", json={"model": MODEL, "symbols": ["AAPL"]}).is_success:
            time.sleep(0.02)
        return time.perf_counter() - began


def mlflow_run(entry_point: str, parameters: dict[str, str], environment: dict[str, str]) -> float:
    """Run an entry point, which must succeed; return the seconds that it took."""
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
def _serving(environment: dict[str, str], folder: Path) -> Iterator[httpx.Client]:
    url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
    with (
        process("serving.app", environment, folder, f"{url}/health"),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@contextmanager
def process(
    module: str, environment: dict[str, str], folder: Path, ready_url: str
) -> Iterator[None]:
    """Run a module until the work ends, from when its page answers."""
    with started(module, environment, folder) as running:
        wait_for(ready_url, 90, {module: running}, folder)
        yield


@contextmanager
def started(
    module: str, environment: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module until the work ends, its output in `folder`."""
    with (folder / f"{module}.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        stop({module: running})


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of an installation of its own, on free ports."""
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
    run(main)
