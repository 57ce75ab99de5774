"""`make demo`: the closed loop on real bars, with its progress shown.

Trains `volatility_forecast` on 1990-2006, serves it, posts 2007-2008 bar by bar, lets the drift
stage find what changed, retrains, and reports what the gates decided. Nothing here decides
anything: every step is a command, a request or a job that anybody can send.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from demo.client import Client
from demo.market import Replay
from demo.processes import ROOT, running, wait_for
from demo.records import follow_retraining, refused_challenger
from demo.report import report
from registry.command_line import run
from registry.database import opened_engine
from registry.settings import PlatformSettings, read_settings
from registry.tracking_server import address, check_port
from serving.keys import ALL_RIGHTS, key_in
from serving.settings import ServingSettings

MODEL = "volatility_forecast"
TRAIN_END = "2006-12-31"
REPLAY_START, REPLAY_END = "2007-01-01", "2008-12-31"
SHOWN = ("AAPL", "MSFT")


def walk(client: Client, replay: Replay) -> None:
    """Walk the loop, one numbered step after the other."""
    step(1, f"train {MODEL} on the sample bars until {TRAIN_END}")
    client.mlflow_run("main", template=MODEL, end=TRAIN_END, promote="true")

    step(2, "serving follows the alias without a restart")
    client.post_history(replay.history(TRAIN_END))
    client.wait_for_version(MODEL, 1)
    client.show_forecasts(MODEL, SHOWN)

    step(3, f"post {REPLAY_START[:4]}-{REPLAY_END[:4]} bar by bar, predict and log")
    client.replay(MODEL, replay.days(REPLAY_START, REPLAY_END))

    step(4, "watch the replay for drift, retrain, judge")
    client.enqueue("drift", {"model_name": MODEL, "start": REPLAY_START, "end": REPLAY_END})
    as_of = follow_retraining(client, MODEL)
    if as_of is not None:
        refused_challenger(client, MODEL, as_of)

    step(5, "trading_signals: what its trade lock says")
    client.mlflow_run("main", template="trading_signals", end=TRAIN_END, promote="true")
    client.wait_for_version("trading_signals", 1)
    client.show_signals(SHOWN, replay)

    step(6, "what happened")
    report(client, replay, MODEL, as_of)


def step(number: int, title: str) -> None:
    """Print a heading with the seconds since the start."""
    print(f"\n[{time.monotonic() - STARTED:5.0f} s] {number}. {title}", flush=True)


STARTED = time.monotonic()


def main() -> None:
    """Start the processes, walk the loop, stay until Ctrl-C (or stop with `--exit`)."""
    parser = argparse.ArgumentParser("python -m demo.closed_loop", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="stop at the end")
    stop_at_end = parser.parse_args().exit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data_dir = fresh_data_dir()
    environment = {
        "DATA_DIR": str(data_dir),
        "DRIFT_INTERVAL": "0",  # the demo enqueues the drift job itself, for the replayed span
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    os.environ.update(environment)
    settings, serving = read_settings(PlatformSettings), read_settings(ServingSettings)
    host, port = address(settings.mlflow_tracking_uri)
    check_port(host, port, "MLFLOW_TRACKING_URI")
    check_port(serving.ml_engine_host, serving.ml_engine_port, "ML_ENGINE_PORT")
    url = f"http://{serving.ml_engine_host}:{serving.ml_engine_port}"
    with running(environment, data_dir / "log") as processes:
        print(f"starting MLflow, serving and a worker; their output is in {data_dir / 'log'}")
        wait_for(f"{settings.mlflow_tracking_uri}/health", 90, processes, data_dir / "log")
        wait_for(f"{url}/health", 60, processes, data_dir / "log")
        with Client(url, settings, make_key(settings, data_dir / "key")) as client:
            walk(client, Replay.of_sample())
        print(f"\nfinished after {time.monotonic() - STARTED:.0f} s")
        if stop_at_end:
            return
        print("everything keeps running until Ctrl-C", flush=True)
        signal.pause()


def make_key(settings: PlatformSettings, path: Path) -> str:
    """Make the key that this demo's requests carry, and say where it is."""
    with opened_engine(settings) as engine:
        key, text = key_in(engine, path, ALL_RIGHTS, label="make demo", actor="demo")
    print(f"key {key.id} with every right is in {path}")
    return text


def fresh_data_dir() -> Path:
    """Empty the demo's own data directory and return it: every demo starts from nothing."""
    path = Path(os.environ.get("DATA_DIR", ROOT / "var")) / "demo"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path.resolve()


if __name__ == "__main__":
    run(main)
