"""Stage `score`: rows of any source -> a registered version's answers, as one Parquet file.

The rows stream through the model in bounded memory. Answers are kept part by part, so a run that
is started again with the same parameters goes on behind the last whole part and answers no row
twice. A request that was too large to be answered at once is scored by this stage as well: then
`results` names its folder below DATA_DIR, and the body lies there.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import polars as pl
import sqlalchemy as sa
from numpy.typing import NDArray

from pipelines import progress
from pipelines.data.frame_checks import limit_memory
from pipelines.data.result_files import ResultFile
from pipelines.data.results import ResultFolder
from pipelines.data.sources.files import paths_of
from pipelines.parameters import SourceParameters, described, parse
from pipelines.recipes.answering import Answerer, n_errors
from pipelines.recipes.scored_rows import (
    FILES,
    ScoredRows,
    Slice,
    kept_frame,
    of_body,
    of_entries,
    rows_to_score,
)
from pipelines.recipes.scoring import (
    PART_ROWS,
    SLICE_ROWS,
    answered,
    fastest,
    load_answerer,
    n_threads,
    numbered,
    with_model,
)
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from registry import managed_models
from registry.alias_rows import PRODUCTION
from registry.artifacts import ArtifactCache
from registry.database import opened_engine
from registry.errors import ParameterError, VersionNotFoundError
from registry.flavors import Artifact
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles
from registry.versions import Registry

ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True)
class ScoreParameters:
    """Which version answers, and where its answers go."""

    model_name: str = described("", "registered model")
    version: int = described(0, "number of the version; 0 means the one that the alias names")
    alias: str = described("", "alias of the version; empty means production")
    keep: str = described("", "columns of the rows that the answers repeat, comma separated")
    output: str = described("", "Parquet file to write", is_path=True)
    results: str = described(
        "", "folder of a request's rows, instead of source and output", is_path=True
    )

    def kept(self) -> tuple[str, ...]:
        """Return the columns to repeat."""
        return tuple(dict.fromkeys(n.strip() for n in self.keep.split(",") if n.strip()))


GROUPS = (ScoreParameters, SourceParameters)


@dataclass(frozen=True, slots=True)
class Scored:
    """What was written: rows, those of them without an answer, seconds from reading to writing.

    `n_rows` are all rows of the result, `n_new` those that this run has answered. `cpu_seconds` are
    those of the processor, of all threads. `load_seconds` went before: a library was imported, the
    artifacts were compared and loaded.
    """

    path: Path
    n_rows: int
    n_new: int
    n_errors: int
    seconds: float
    cpu_seconds: float
    load_seconds: float
    artifact: str


def score(
    wanted: ScoreParameters,
    source: SourceParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
) -> Scored:
    """Answer the rows and write the result.

    Raises:
        NotFoundError: no such model, version or alias.
        DiskFullError: the disk does not take the answers; the parts that it took stay.
        MLEngineError: rows that this version cannot be asked about; one line each.
    """
    number = _number(wanted, settings, engine)
    files = ArtifactCache(settings, engine).fetch(wanted.model_name, number)
    answerer = load_answerer(files)
    result, is_body = _result(wanted, settings), bool(wanted.results)
    if is_body and result.is_whole:  # a run before this one was killed when all was done
        return Scored(result.path, result.n_rows(), 0, 0, 0.0, 0.0, 0.0, "")
    with _rows(answerer, wanted, source, settings) as rows:
        scored = run(files, answerer, rows, result, _task(files, wanted, source))
    if is_body:
        ResultFolder(settings.results_dir, wanted.results).drop_body()
    return scored


def run(
    files: VersionFiles,
    answerer: Answerer,
    rows: ScoredRows,
    result: ResultFile,
    task: Mapping[str, str],
) -> Scored:
    """Answer the rows that no earlier run of the same task has answered, and join the parts."""
    began = loading = loaded = _now()
    state = result.begin(task)
    n_before = result.n_done()
    slices = rows.slices(SLICE_ROWS, n_before)
    first = next(slices, None)
    n_failed, done = 0, n_before
    if first is not None:
        loading = _now()
        artifact = _artifact(files, answerer, first, state, result)
        models = [with_model(files, answerer, artifact) for _ in range(n_threads())]
        loaded = _now()
        for part in _parts(answered(chain([first], slices), models)):
            result.add_part(done, numbered(part, done))
            done, n_failed = done + len(part), n_failed + n_errors(part)
            progress.report(done, rows.n_rows, f"{done} of {rows.n_rows} rows")
    elif not n_before:
        result.add_part(0, numbered(_no_answers(answerer), 0))
    name = result.state().get(ARTIFACT, "")
    n_rows = result.finish()
    load = loaded - loading
    seconds, cpu_seconds = _now() - began - load
    return Scored(
        path=result.path,
        n_rows=n_rows,
        n_new=done - n_before,
        n_errors=n_failed,
        seconds=float(seconds),
        cpu_seconds=float(cpu_seconds),
        load_seconds=float(load[0]),
        artifact=name,
    )


def _now() -> NDArray[np.float64]:
    """Return the seconds of the clock, and of the processor for this process."""
    return np.array([perf_counter(), process_time()])


def _parts(answers: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the answers of several slices together."""
    held: list[pl.DataFrame] = []
    for answer in answers:
        held.append(answer)
        if sum(map(len, held)) >= PART_ROWS:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _no_answers(answerer: Answerer) -> pl.DataFrame:
    return pl.DataFrame(schema=pl.Schema(answerer.types()))


def _artifact(
    files: VersionFiles,
    answerer: Answerer,
    first: Slice,
    state: Mapping[str, str],
    result: ResultFile,
) -> Artifact:
    """Return what answers: that of an earlier run, so that all rows are answered by one."""
    if name := state.get(ARTIFACT):
        return Artifact(*name.split("."))
    chosen = fastest(files, answerer, first)
    result.remember({**state, ARTIFACT: str(chosen)})
    return chosen


def _number(wanted: ScoreParameters, settings: PlatformSettings, engine: sa.Engine) -> int:
    managed_models.check_exists(engine, wanted.model_name)
    managed_models.check_not_archived(engine, wanted.model_name)
    if wanted.version:
        return wanted.version
    alias = wanted.alias or PRODUCTION
    known = Registry(settings, engine).aliases(wanted.model_name)
    if alias not in known:
        raise VersionNotFoundError(wanted.model_name, f"alias {alias!r}", known)
    return known[alias]


def _result(wanted: ScoreParameters, settings: PlatformSettings) -> ResultFile:
    if wanted.results:
        return ResultFolder(settings.results_dir, wanted.results).result
    path = Path(wanted.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    return ResultFile(path)


@contextmanager
def _rows(
    answerer: Answerer,
    wanted: ScoreParameters,
    source: SourceParameters,
    settings: PlatformSettings,
) -> Iterator[ScoredRows]:
    if not wanted.results:
        with rows_to_score(answerer, source, settings, wanted.kept()) as rows:
            yield rows
        return
    folder = ResultFolder(settings.results_dir, wanted.results)
    if (asked := folder.entries()) is not None:
        context = {name: np.array(v, dtype=np.float64) for name, v in asked.context.items()}
        yield of_entries(answerer, asked.entries, context, kept_frame(asked.kept, asked.entries))
        return
    limit_memory()  # a stranger's file
    yield of_body(answerer, folder.body(), wanted.kept())


def _task(files: VersionFiles, wanted: ScoreParameters, source: SourceParameters) -> dict[str, str]:
    """Return what makes the parts of a run the same as those of another."""
    contract = hashlib.sha256(files.contract.to_json().encode()).hexdigest()
    facts = {
        "model": f"{files.model_id}/{files.number}/{contract}",
        "keep": ",".join(wanted.kept()),
        "source": json.dumps(asdict(source), sort_keys=True),
        "results": wanted.results,
    }
    if source.source == FILES and not wanted.results:
        found = [(path, path.stat()) for path in paths_of(source.query().path)]
        facts["files"] = json.dumps([(str(p), s.st_size, s.st_mtime_ns) for p, s in found])
    return facts


def _check(wanted: ScoreParameters) -> None:
    if not wanted.model_name:
        raise ParameterError("model_name", "", "a registered model")
    if wanted.version and wanted.alias:
        raise ParameterError("alias", wanted.alias, "nothing beside version")
    if not wanted.results and not wanted.output.lower().endswith(".parquet"):
        raise ParameterError("output", wanted.output, "a file ending in .parquet")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    wanted, source = parse(argv, __doc__, *GROUPS)
    _check(wanted)
    settings = platform_settings()
    with (
        opened_engine(settings) as engine,
        stage_run("score", wanted.model_name, wanted, source) as run_id,
    ):
        scored = score(wanted, source, settings, engine)
        log_metrics({"n_rows": scored.n_rows, "n_errors": scored.n_errors, "s": scored.seconds})
    taken = f"{scored.seconds:.2f} s ({scored.cpu_seconds:.2f} s of processor time)"
    taken += f" after {scored.load_seconds:.2f} s of loading the model"
    told = f"{scored.n_rows} rows, {scored.n_new} of them answered now in {taken}"
    print(f"{told}, {scored.n_errors} without an answer; by {scored.artifact or 'an earlier run'}")
    print(f"run {run_id}", flush=True)


if __name__ == "__main__":
    exit_with(main)
