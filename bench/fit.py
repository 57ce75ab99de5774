"""One XGBoost fit with OpenMP threads that spin or sleep while they wait, alone and under load.

The stages set OMP_WAIT_POLICY=PASSIVE; these figures show the reason. Load is one busy process per
core.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench.figures import Figure, report, spread
from demo.processes import ROOT
from registry.command_line import run

FIT = """
import time
import numpy as np
from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
xgboost, objective = ARCHITECTURES.get("xgboost"), Objective("gamma")
rng = np.random.default_rng(0)
X = rng.normal(size=({n}, 24)).astype(np.float32)
y = np.exp(0.3 * rng.normal(size={n}) + 0.2 * X[:, 0])
rows = TrainingRows(X, y, np.ones({n}))
parameters = xgboost.parameters(objective) | {{"rounds": 100}}
xgboost.fit(rows, objective, parameters | {{"rounds": 1}}, 0)
began = time.perf_counter()
xgboost.fit(rows, objective, parameters, 0)
print(time.perf_counter() - began)
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.fit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one repetition")
    quick = parser.parse_args().quick
    n_rows, repeats = (20_000, 1) if quick else (80_000, 3)
    figures = list(_alternate("idle", n_rows, repeats))
    with _load(os.cpu_count() or 1):
        figures += _alternate("loaded", n_rows, repeats)
    report("fit", figures, {"quick": quick, "n_rows": n_rows})


def _alternate(state: str, n_rows: int, repeats: int) -> Iterator[Figure]:
    policies = ("ACTIVE", "PASSIVE")
    taken: dict[str, list[float]] = {policy: [] for policy in policies}
    for _ in range(repeats):
        for policy in policies:
            taken[policy].append(_fit_ms(policy, n_rows))
    for policy, ms in taken.items():
        yield Figure(f"fit_{state}_{policy.lower()}_ms", float(np.median(ms)), "ms", spread(ms))


def _fit_ms(policy: str, n_rows: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FIT.format(n=n_rows)],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": policy},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout) * 1e3


@contextmanager
def _load(n_processes: int) -> Iterator[None]:
    line = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(line) for _ in range(n_processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    run(main)
