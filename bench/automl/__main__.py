"""Our search beside FLAML, AutoGluon and LightGBM's defaults: same rows, seconds, thread.

Each search is a process of its own on one core, one after the other. On a shared machine
`--clock processor` gives each the same work whatever else runs. Results are kept in a file as
they come, and what is there is not searched again, so a run that was stopped goes on. FLAML and
AutoGluon live in environments of their own; each is left out where no Python is named that has it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.automl.results import Result, figures, judged
from bench.automl.sets import SETS, VOLATILITY, Rows, rows_of, table
from bench.figures import report
from demo.processes import ROOT
from registry.command_line import run
from registry.settings import PlatformSettings

PEERS = Path(__file__).parent / "peers"
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "POLARS", "RAYON")}
SPARE = 20
"""How many times as long as its budget and a minute a search may take, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The seconds of a search, of the wall or of the processor."""

    seconds: int
    clock: str

    @property
    def clocked(self) -> tuple[str, ...]:
        """What stands before the script, so that its clocks tell these seconds."""
        return (str(PEERS / "processor_clock.py"),) if self.clock == "processor" else ()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.automl", description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help="some of them, by commas")
    parser.add_argument("--tools", default="ours,lightgbm,flaml,autogluon", help="some of them")
    parser.add_argument(
        "--seconds", type=int, default=0, help="of each search, 30 (60 with --long)"
    )
    parser.add_argument("--seeds", type=int, default=0, help="how many, 3 (5 with --long)")
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow it")
    parser.add_argument("--long", action="store_true", help="60 s, 5 seeds")
    parser.add_argument("--quick", action="store_true", help="5 s, 1 seed, two small tables")
    parser.add_argument("--flaml", default="", help="a Python with flaml[automl]")
    parser.add_argument("--autogluon", default="", help="a Python with autogluon.tabular")
    parser.add_argument("--core", type=int, default=0, help="the core that all of them share")
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"))
    parser.add_argument("--kept", type=Path, default=Path("var/bench/automl.jsonl"))
    asked = parser.parse_args()
    sets = ["wine", "diabetes"] if asked.quick else asked.sets.split(",")
    seconds = asked.seconds or (5 if asked.quick else 60 if asked.long else 30)
    n_seeds = asked.seeds or (1 if asked.quick else 5 if asked.long else 3)
    os.sched_setaffinity(0, {asked.core})
    pythons = {
        "ours": sys.executable,
        "lightgbm": sys.executable,
        "flaml": asked.flaml,
        "autogluon": asked.autogluon,
    }
    tools = {name: pythons[name] for name in asked.tools.split(",") if pythons[name]}
    budget = Budget(seconds, asked.clock)
    kept = asked.kept.with_suffix(f".{asked.clock}{seconds}{asked.kept.suffix}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    seeds = range(asked.first_seed, asked.first_seed + n_seeds)
    cases = [(name, seed) for seed in seeds for name in sets]
    results = list(_measured(cases, tools, budget, kept))
    settings = {
        "seconds": seconds,
        "clock": asked.clock,
        "seeds": list(seeds),
        "sets": sets,
        "tools": list(tools),
    }
    report("automl", figures(results, seconds), settings)


def _measured(
    cases: list[tuple[str, int]], tools: Mapping[str, str], budget: Budget, kept: Path
) -> Iterator[Result]:
    """Yield the result of every tool in every case, from the file where it is there."""
    known = {(r.set, r.seed, r.tool): r for r in _read(kept)}
    for name, seed in cases:
        rows = None
        for tool, python in tools.items():
            found = known.get((name, seed, tool))
            if found is None:
                rows = rows or _rows(name, seed)
                found = _searched(rows, seed, tool, python, budget)
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
            print(_line(found), flush=True)
            yield found


def _rows(name: str, seed: int) -> Rows:
    with TemporaryDirectory() as folder:
        return rows_of(name, seed, PlatformSettings(data_dir=Path(folder)))


def _searched(rows: Rows, seed: int, tool: str, python: str, budget: Budget) -> Result:
    """Run one search in a process of its own, and judge what it predicts."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        given, out = folder / "given.npz", folder / "out.npz"
        np.savez(given, **rows.arrays(), seconds=budget.seconds, seed=seed)
        line = [str(PEERS / f"{_SCRIPTS[tool]}.py"), str(given), str(out)]
        if tool == "ours":
            line = [*_ours(rows, seed, budget.seconds, folder, out)]
        before = _used()
        with (folder / "said").open("w") as said:
            done = subprocess.run(
                [python, *budget.clocked, *line],
                cwd=ROOT,
                env=os.environ | ONE_THREAD,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=SPARE * (budget.seconds + 60),
                check=False,
            )
        if done.returncode:
            sys.exit(f"{tool} on {rows.name} failed:\n{(folder / 'said').read_text()[-2000:]}")
        found = judged(rows, seed, tool, dict(np.load(out)))
        return replace(found, process_seconds=_used() - before)


def _used() -> float:
    """Return the processor seconds of all searches so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_SCRIPTS = {
    "ours": "",
    "lightgbm": "lightgbm_defaults",
    "flaml": "flaml_search",
    "autogluon": "autogluon_search",
}


def _ours(rows: Rows, seed: int, seconds: int, folder: Path, out: Path) -> Iterator[str]:
    yield from ("-m", "bench.automl.ours", "--set", rows.name, "--kind", rows.kind)
    if rows.name != VOLATILITY:
        path = folder / "table.csv"
        table(rows.name, seed).write_csv(path)
        yield from ("--table", str(path))
    yield from ("--seed", str(seed), "--seconds", str(seconds))
    yield from ("--folder", str(folder), "--out", str(out))


def _read(kept: Path) -> list[Result]:
    if not kept.is_file():
        return []
    lines = map(json.loads, kept.read_text().splitlines())
    return [Result(**line | {"losses": tuple(line["losses"])}) for line in lines]


def _line(r: Result) -> str:
    return (
        f"{r.set} seed {r.seed} {r.tool}: {r.untouched:.4f} untouched, {r.search:.4f} searched, "
        f"{r.trials} trials in {r.seconds:.0f} s; {r.note[:90]}"
    )


if __name__ == "__main__":
    run(main)
