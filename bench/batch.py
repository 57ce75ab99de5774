"""A batch: a million rows of 24 features through a tree model, by `score` and by HTTP.

Trains `tabular` with XGBoost on some of the rows, with its own MLflow, serving and worker on free
ports in a temporary directory. The rows are then answered four ways: by the library alone (the
faster of XGBoost and onnxruntime on all cores, reading and writing the same Parquet), by the stage
`score` in a process of its own, by POST /predict/batch, and by the Python client. Peak memory is
that of each process.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import httpx
import numpy as np
import polars as pl
import psutil

from bench.figures import Figure, report, spread
from bench.loop import environment_of, process, started
from demo.processes import ROOT
from registry.command_line import run

MODEL = "bench_batch"
N_FEATURES, N_TRAINING, REPEATS = 24, 20_000, 3
PARQUET = "application/vnd.apache.parquet"
DIRECT = """
import json, sys, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
library, model, rows, out, threads = sys.argv[1:]
threads = int(threads)
if library == "xgboost":
    import xgboost
    booster = xgboost.Booster(model_file=model)
    booster.set_param({"nthread": threads})
    run = lambda X: booster.inplace_predict(X, predict_type="margin")
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    run = lambda X: session.run(["scores"], {"features": X})[0]
taken = []
for _ in range(3):
    began, cpu = time.perf_counter(), time.process_time()
    table = pq.read_table(rows)
    X = np.column_stack([column.to_numpy() for column in table.columns[1:]])
    X = np.ascontiguousarray(X, dtype=np.float32)
    value = run(X).reshape(-1).astype(np.float64)
    pq.write_table(pa.table({"id": table["id"], "value": value}), out)
    taken.append((time.perf_counter() - began, time.process_time() - cpu))
print(json.dumps(taken))
"""
CLIENT = """
import json, sys, time
from pathlib import Path
from nautilus_ml_client import Client
url, model, rows, out = sys.argv[1:]
began = time.perf_counter()
with Client(url) as client:
    scored = client.score(model, rows, keep=["id"], version=1, output=out)
taken = time.perf_counter() - began
told = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
peak = int(told.split()[0]) * 1024  # getrusage would count the process that started this one
print(json.dumps([taken, peak, scored.job_id is not None]))
"""
"""The client alone in a process: what it takes and how much memory, by its own account (Linux)."""
SCORED = re.compile(r"answered now in ([\d.]+) s \(([\d.]+) s of.*by (\S+)")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.batch", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many (%(default)s)")
    n_rows = parser.parse_args().rows
    figures = []
    with TemporaryDirectory() as folder:
        for figure in _measure(n_rows, Path(folder), environment_of(Path(folder))):
            print(f"{figure.name} {figure.value:.4g} {figure.unit} {figure.note}", flush=True)
            figures.append(figure)
    report("batch", figures, {"rows": n_rows})


def _measure(n_rows: int, folder: Path, environment: dict[str, str]) -> Iterator[Figure]:
    rows, table = folder / "rows.parquet", folder / "table.parquet"
    _write(n_rows, rows, table)
    tracking = environment["MLFLOW_TRACKING_URI"]
    url = f"http://127.0.0.1:{environment['ML_ENGINE_PORT']}"
    with process("registry.tracking_server", environment, folder, f"{tracking}/health"):
        _train(table, environment)
        direct = _direct(rows, folder, environment)
        yield from direct
        named = {figure.name: figure.value for figure in direct}
        best = min(("xgboost", "onnxruntime"), key=lambda name: named[f"direct_{name}_s"])
        fastest = (named[f"direct_{best}_s"], named[f"direct_{best}_cpu_s"])
        yield from _score(rows, folder, environment, fastest)
        with (
            process("serving.app", environment, folder, f"{url}/health"),
            started("pipelines.jobs.worker", environment, folder) as worker,
            httpx.Client(base_url=url, timeout=600) as client,
        ):
            _wait_for_model(client)
            yield from _by_http(client, rows, folder, psutil.Process(worker.pid))
            yield from _by_client(url, rows, folder)
            yield from _beside(client, rows)


def _write(n_rows: int, rows: Path, table: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_FEATURES)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * rng.standard_normal(n_rows)
    columns = {f"f{i}": X[:, i] for i in range(N_FEATURES)}
    frame = pl.DataFrame({"id": np.arange(n_rows), **columns})
    frame.write_parquet(rows, row_group_size=131_072)
    known = frame.drop("id").with_columns(y=y).head(N_TRAINING)
    known.write_parquet(table)


def _train(table: Path, environment: dict[str, str]) -> None:
    line = ["--template", "tabular", "--source", "files", "--path", str(table)]
    line += ["--options", json.dumps({"target": "y"}), "--model_name", MODEL]
    line += ["--flavors", "onnx", "--parameters", json.dumps({"rounds": 200})]
    _run(["pipelines.main", *line], environment)


def _run(line: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", *line]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{line[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _direct(rows: Path, folder: Path, environment: dict[str, str]) -> list[Figure]:
    """Return the seconds of each library alone, its processor time beside."""
    found = []
    cores = os.cpu_count() or 1
    for library, name in (("xgboost", "native/model.ubj"), ("onnxruntime", "onnx/model.onnx")):
        model = sorted(Path(environment["DATA_DIR"]).rglob(name))[0]  # all copies are the same
        asked = [library, str(model), str(rows), str(folder / "direct.parquet"), str(cores)]
        done = subprocess.run(
            [sys.executable, "-c", DIRECT, *asked], capture_output=True, text=True, check=True
        )
        taken = np.array(json.loads(done.stdout))
        wall, cpu = np.median(taken, axis=0)
        note = f"median of {len(taken)}; min {taken[:, 0].min():.3g}, max {taken[:, 0].max():.3g}"
        found.append(Figure(f"direct_{library}_s", float(wall), "s", note))
        found.append(Figure(f"direct_{library}_cpu_s", float(cpu), "cpu s"))
    return found


def _score(
    rows: Path, folder: Path, environment: dict[str, str], direct: tuple[float, float]
) -> Iterator[Figure]:
    line = ["monitoring.score", "--model_name", MODEL, "--version", "1", "--source", "files"]
    line += ["--path", str(rows), "--keep", "id", "--output", str(folder / "scored.parquet")]
    inner, cpu, whole, name = [], [], [], ""
    for _ in range(REPEATS):
        (folder / "scored.parquet").unlink(missing_ok=True)
        began = time.perf_counter()
        told = SCORED.search(_run(line, environment))
        whole.append(time.perf_counter() - began)
        assert told is not None
        inner.append(float(told[1]))
        cpu.append(float(told[2]))
        name = told[3]
    seconds = float(np.median(inner))
    note = f"median of {REPEATS}; min {min(inner):.3g}, max {max(inner):.3g}; by {name}"
    yield Figure("score_s", seconds, "s", note)
    yield Figure("score_cpu_s", float(np.median(cpu)), "cpu s")
    yield Figure("score_to_direct", seconds / direct[0], "ratio", "to the faster library")
    yield Figure("score_to_direct_cpu", float(np.median(cpu)) / direct[1], "ratio", "likewise")
    yield Figure("score_process_s", float(np.median(whole)), "s", "with imports and MLflow's run")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    yield Figure("score_or_training_peak_mb", children / 1e6, "MB", "largest child so far")


def _wait_for_model(client: httpx.Client) -> None:
    """Wait until the version is loaded: this process has just heard of it."""
    body = {"model": MODEL, "version": 1, "rows": [[0.0] * N_FEATURES]}
    for _ in range(300):
        if client.post("/predict", json=body).is_success:
            return
        time.sleep(0.2)
    sys.exit("serving did not load the model")


def _by_http(
    client: httpx.Client, rows: Path, folder: Path, worker: psutil.Process
) -> Iterator[Figure]:
    """Send all rows, wait for the job, take the answers; with the memory of the job's process."""
    peak = _Peak(worker)
    began = time.perf_counter()
    headers = {"content-type": PARQUET, "accept": "application/json"}
    query = {"model": MODEL, "version": "1", "keep": "id"}
    with rows.open("rb") as file:
        asked = client.post("/predict/batch", content=file, headers=headers, params=query)
    asked.raise_for_status()
    yield Figure("http_upload_s", time.perf_counter() - began, "s", "to the answer 202")
    results = asked.json()["results"]
    while (state := client.get(results).json())["state"] in ("queued", "leased"):
        time.sleep(0.1)
    assert state["state"] == "done", state
    yield Figure("http_job_done_s", time.perf_counter() - began, "s", "since the request began")
    with client.stream("GET", results, headers={"accept": PARQUET}) as answer:
        (folder / "answers.parquet").write_bytes(b"".join(answer.iter_bytes()))
    yield Figure("http_all_s", time.perf_counter() - began, "s", "with the answers' download")
    yield Figure("http_job_peak_mb", peak.stop() / 1e6, "MB", "the largest process of the job")
    mine, theirs = (pl.read_parquet(folder / n) for n in ("scored.parquet", "answers.parquet"))
    assert mine["id"].equals(theirs["id"])
    assert np.allclose(mine["value"], theirs["value"], rtol=1e-5, atol=1e-5)


def _by_client(url: str, rows: Path, folder: Path) -> Iterator[Figure]:
    """Score all rows by the Python client in a process of its own."""
    out = folder / "by_client.parquet"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, url, MODEL, str(rows), str(out)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        check=True,
    )
    taken, peak, is_job = json.loads(done.stdout)
    note = "as a job, waited for" if is_job else "at once"
    yield Figure("client_score_s", taken, "s", note)
    yield Figure("client_peak_mb", peak / 1e6, "MB", "with Python and its imports")
    ours, theirs = (pl.read_parquet(folder / n) for n in ("by_client.parquet", "answers.parquet"))
    assert ours.equals(theirs)


def _beside(client: httpx.Client, rows: Path) -> Iterator[Figure]:
    """Time single predictions alone, and while batches of 20,000 rows are answered."""
    few = rows.with_name("few.parquet")
    pl.read_parquet(rows).head(20_000).write_parquet(few)
    row = pl.read_parquet(few).drop("id").head(1).to_dicts()
    body = {"model": MODEL, "version": 1, "rows": row}
    headers = {"content-type": PARQUET, "accept": PARQUET}
    query = {"model": MODEL, "version": "1"}

    def one() -> float:
        began = time.perf_counter()
        client.post("/predict", json=body).raise_for_status()
        return (time.perf_counter() - began) * 1e3

    for _ in range(50):
        one()
    alone = [one() for _ in range(200)]
    yield Figure("predict_1_row_ms", float(np.median(alone)), "ms", spread(alone))
    ended, batches = Event(), list[float]()

    def batch() -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            while not ended.is_set():
                began = time.perf_counter()
                content = few.read_bytes()
                sent = other.post("/predict/batch", content=content, headers=headers, params=query)
                sent.raise_for_status()
                batches.append((time.perf_counter() - began) * 1e3)

    thread = Thread(target=batch)
    thread.start()
    time.sleep(0.5)
    beside = [one() for _ in range(200)]
    ended.set()
    thread.join()
    yield Figure("predict_1_row_beside_ms", float(np.median(beside)), "ms", spread(beside))
    yield Figure("batch_20000_rows_ms", float(np.median(batches)), "ms", spread(batches))


class _Peak:
    """The largest resident memory of a process below another one, looked at until `stop`."""

    def __init__(self, root: psutil.Process) -> None:
        self._root, self._ended, self._bytes = root, Event(), 0
        self._thread = Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._bytes

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(psutil.Error):  # ended meanwhile
                for child in self._root.children(recursive=True):
                    if "monitoring.score" in child.cmdline():
                        self._bytes = max(self._bytes, child.memory_info().rss)


if __name__ == "__main__":
    run(main)
