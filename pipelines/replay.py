"""Stage `replay`: fit a finished run again and compare, bit by bit where that can be asked.

It reads what the run stored, makes its rows again, and names each change in one line: data,
features, label, commit, libraries, processor, threads. If data, features and label are the same,
every fold and the final fit are fitted again. Their scores are compared with the stored out-of-fold
scores and golden rows. Exit status 0: reproduced; 2: not.

With the same thread count trees must agree bit for bit. Anything else must agree bit for bit with
the same processor, threads and accelerator. Elsewhere linear algebra rounds differently, and the
largest |a - b| / max(1, |a|) must stay within `TOLERANCES`.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipelines import progress
from pipelines.method.agreement import difference
from pipelines.parameters import described, parse
from pipelines.recipes import manifest
from pipelines.recipes.candidate import TrainRun, fetch_train_run, load_evidence
from pipelines.recipes.dataset import final_rows, read_dataset
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe, fit_folds
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from registry.errors import ParameterError, ReplayError, RunNotFoundError
from registry.settings import PlatformSettings
from registry.version_files import GOLDEN_FILE

TREES = ("xgboost-ubj", "lightgbm-txt", "catboost-cbm")
"""Native formats of libraries whose fits do not depend on the processor."""
TOLERANCES = {"torch-export": 1e-2}
"""Limits for a fit on another machine; a network amplifies rounding over its epochs."""
TOLERANCE = 1e-5
GROWING = ("store", "files")
"""Sources that may have newer rows by now; they are read up to the last row of the run."""
DETERMINING = ("data", "feature_fingerprint", "label_spec", "parameters")
"""A change of one of these fits another model, so scores are not compared."""


@dataclass(frozen=True, slots=True)
class ReplayParameters:
    """Which run to fit again."""

    run_id: str = described("", "id of a finished run of train, or of validate or main after it")


GROUPS = (ReplayParameters,)


@dataclass(frozen=True, slots=True)
class Change:
    """A fact of the run that is different now."""

    what: str
    then: str
    now: str

    def line(self) -> str:
        """Return the change for people."""
        return f"{self.what} was {self.then or 'not recorded'}, is {self.now or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of one fit then and now; `limit` 0 asks for every bit."""

    fit: str
    n_rows: int
    largest: float
    is_bitwise: bool
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the fit is reproduced."""
        return self.is_bitwise or self.largest <= self.limit > 0

    def line(self) -> str:
        """Return the comparison for people."""
        if self.is_bitwise:
            return f"{self.fit}: {self.n_rows} rows, every bit the same"
        needs = f"limit {self.limit:g}" if self.limit else "every bit must agree"
        return f"{self.fit}: {self.n_rows} rows differ by up to {self.largest:.3g} ({needs})"


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of fitting a run again; `run_id` is the run of the replay."""

    run_id: str
    changes: tuple[Change, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per reason why the run is not reproduced; empty when it is."""
        blocking = [c.line() for c in self.changes if c.what in DETERMINING]
        return (*blocking, *(c.line() for c in self.comparisons if not c.passed))


def replay(run_id: str, settings: PlatformSettings) -> Replay:
    """Fit a run again and log how it compares.

    Raises:
        RunNotFoundError: no such run, or no finished train run belongs to it.
        MLEngineError: the data cannot be read any more.
    """
    with TemporaryDirectory() as folder:
        run = fetch_train_run(train_run_of(run_id), Path(folder))
        wanted = ReplayParameters(run_id)
        name = run.contract.model_id
        with stage_run("replay", name, wanted) as replay_id, progress.part("replay"):
            done = _replay(replay_id, run, settings)
            _log(done, run)
    return done


def train_run_of(run_id: str) -> str:
    """Return the train run behind a run of train, validate or main.

    Raises:
        RunNotFoundError: there is none.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
    except MlflowException as exc:
        raise RunNotFoundError(run_id, "train run") from exc
    if named := run.data.tags.get("train_run_id"):
        return train_run_of(str(named))  # of a version validated again: the run that made it
    if run.data.tags.get("stage") != "main":
        return run_id
    below = f"tags.mlflow.parentRunId = '{run_id}' and tags.stage = 'train'"
    found = client.search_runs([run.info.experiment_id], below)
    if not found:
        raise RunNotFoundError(run_id, "train run")
    return str(found[0].info.run_id)


def _replay(replay_id: str, run: TrainRun, settings: PlatformSettings) -> Replay:
    source = run.source
    if source.source in GROWING and not source.end:
        source = replace(source, end=run.contract.data.end)
    recipe, dataset = read_dataset(source, run.wanted, settings)
    recipe = recipe.chosen(dataset.rows.take(dataset.folds[0].train))
    inputs = tuple(_input_changes(run, recipe, dataset))
    if inputs:
        return Replay(replay_id, (*inputs, *_machine_changes(run)), ())
    scores = _fit_again(run, recipe, dataset)
    changes = tuple(_machine_changes(run))  # after the fits: torch is loaded where they use it
    limit = limit_of(run.contract.native_format, changes)
    comparisons = tuple(compare(name, *pair, limit) for name, pair in scores)
    return Replay(replay_id, changes, comparisons)


def _fit_again(
    run: TrainRun, recipe: Recipe, dataset: Dataset
) -> list[tuple[str, tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """Return for each fit its stored scores and those of today."""
    stored, again = (
        load_evidence(run.evidence, dataset.rows),
        fit_folds(recipe, dataset.rows, dataset.folds),
    )
    pairs = [
        (f"fold {fold.number}", (stored.scores[mine], again.scores[again.fold == fold.number]))
        for fold in dataset.folds
        if (mine := stored.fold == fold.number).any()
    ]
    with np.load(
        io.BytesIO((run.directory / GOLDEN_FILE).read_bytes()), allow_pickle=False
    ) as golden:
        final = recipe.fit(final_rows(recipe, dataset))
        pairs.append(("final fit", (golden["scores"], final.predict(golden["features"]))))
    return pairs


def limit_of(native_format: str, changes: Sequence[Change]) -> float:
    """Return the largest difference that scores may have; 0 asks for every bit."""
    moved = {change.what for change in changes}
    decisive = {"threads"} if native_format in TREES else {"processor", "accelerator", "threads"}
    if not moved & decisive:
        return 0.0
    return TOLERANCES.get(native_format, TOLERANCE)


def compare(
    fit: str, then: NDArray[np.float32], now: NDArray[np.float32], limit: float
) -> Comparison:
    """Compare the scores of one fit; other shapes are infinitely far apart."""
    if then.shape != now.shape:
        return Comparison(fit, len(then), float("inf"), is_bitwise=False, limit=limit)
    same = bool(np.array_equal(then.view(np.uint32), now.view(np.uint32)))
    return Comparison(fit, len(then), difference(then, now), same, limit)


def _input_changes(run: TrainRun, recipe: Recipe, dataset: Dataset) -> Iterator[Change]:
    contract = run.contract
    kind = kind_of(recipe.template)
    layout = kind.describe(recipe, dataset.data, dataset.label_spec)
    first, last = dataset.data.span()
    pairs = {
        "data": (_of_data(contract.data.sha256, contract.data.start, contract.data.end),
                 _of_data(dataset.data.digest(), first.isoformat(), last.isoformat())),
        "feature_fingerprint": (contract.feature_fingerprint, layout.fingerprint),
        "label_spec": (_json(contract.label_spec), _json(dataset.label_spec)),
        "parameters": (_json(contract.parameters), _json(recipe.parameters)),
    }  # fmt: skip
    yield from _changed(pairs)


def _machine_changes(run: TrainRun) -> Iterator[Change]:
    then, now = run.manifest, manifest.collect(run.source, run.wanted, run.contract)
    names = ("git_commit", "lock_sha256", "python", "processor", "accelerator")
    pairs = {name: (str(getattr(then, name)), str(getattr(now, name))) for name in names}
    pairs["threads"] = (str(then.threads or ""), str(now.threads))
    for library in sorted({*then.libraries, *now.libraries}):
        if library in then.libraries:
            pairs[library] = (then.libraries[library], now.libraries.get(library, ""))
    yield from _changed(pairs)


def _changed(pairs: dict[str, tuple[str, str]]) -> Iterator[Change]:
    for what, (then, now) in pairs.items():
        if then != now:
            yield Change(what, then, now)


def _of_data(sha256: str, start: str, end: str) -> str:
    return f"{sha256[:12]} ({start} to {end})"


def _json(facts: object) -> str:
    return json.dumps(facts, sort_keys=True)


def _log(done: Replay, run: TrainRun) -> None:
    import mlflow

    facts = {
        "train_run_id": run.run_id,
        "is_reproduced": not done.failures,
        "changes": [asdict(change) for change in done.changes],
        "comparisons": [asdict(c) | {"passed": c.passed} for c in done.comparisons],
    }
    mlflow.log_text(json.dumps(facts, indent=2), "replay.json")
    mlflow.set_tags(
        {
            "train_run_id": run.run_id,
            "outcome": "not reproduced" if done.failures else "reproduced",
            "changes": "; ".join(change.line() for change in done.changes)[:5000],
        }
    )
    found = {f"replay.{c.fit.replace(' ', '_')}": c.largest for c in done.comparisons}
    log_metrics(found | {"replay.reproduced": float(not done.failures)})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    (which,) = parse(argv, __doc__, *GROUPS)
    if not which.run_id:
        raise ParameterError("run_id", "", "the id of a finished run of train, validate or main")
    done = replay(which.run_id, platform_settings())
    for change in done.changes:
        print(f"changed  {change.line()}")
    for comparison in done.comparisons:
        print(f"{'same    ' if comparison.passed else 'differs '} {comparison.line()}")
    print(f"run {done.run_id}", flush=True)
    if done.failures:
        raise ReplayError(which.run_id, done.failures)


if __name__ == "__main__":
    exit_with(main)
