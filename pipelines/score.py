"""Stage `score`: rows of any source -> a registered version's answers, as one Parquet file.

The rows stream through the model in bounded memory. Answers are kept part by part, so a run that
is started again with the same parameters goes on behind the last whole part and answers no row
twice. A request that was too large to be answered at once is scored by this stage as well: then
`results` names its folder below DATA_DIR, and the body lies there. The entry point is
`monitoring.score`, which also keeps the answers to requests in the prediction log.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
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
from pipelines.parameters import SourceParameters, described
from pipelines.recipes.answer_log import AnswerLog, NoLog
from pipelines.recipes.answering import AnsweredRows, Answerer, n_errors
from pipelines.recipes.prepared_rows import asked_in, of_prepared
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
    widest_slice,
    with_model,
)
from registry import managed_models
from registry.alias_rows import PRODUCTION
from registry.artifacts import ArtifactCache
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

    def check(self) -> None:
        """Refuse what nothing can be done with.

        Raises:
            ParameterError: no model, two ways of naming a version, or no file to write.
        """
        if not self.model_name:
            raise ParameterError("model_name", "", "a registered model")
        if self.version and self.alias:
            raise ParameterError("alias", self.alias, "nothing beside version")
        if not self.results and not self.output.lower().endswith(".parquet"):
            raise ParameterError("output", self.output, "a file ending in .parquet")


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
    log_of: Callable[[VersionFiles, Artifact], AnswerLog] = lambda *_: NoLog(),
) -> Scored:
    """Answer the rows and write the result.

    Args:
        log_of: makes the log that keeps the answers of an artifact too.

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
    answerer = replace(answerer, asked=_asked(wanted, settings))
    with _rows(answerer, wanted, source, settings) as rows:
        task, log = _task(files, wanted, source), partial(log_of, files)
        scored = run(files, answerer, rows, result, task, log)
    if is_body:
        ResultFolder(settings.results_dir, wanted.results).drop_body()
    return scored


def run(
    files: VersionFiles,
    answerer: Answerer,
    rows: ScoredRows,
    result: ResultFile,
    task: Mapping[str, str],
    log_of: Callable[[Artifact], AnswerLog] = lambda _: NoLog(),
) -> Scored:
    """Answer the rows that no earlier run of the same task has answered, and join the parts."""
    began = loading = loaded = _now()
    state = result.begin(task)
    n_before = result.n_done()
    slices = rows.slices(min(SLICE_ROWS, widest_slice(files.contract)), n_before)
    first = next(slices, None)
    n_failed, done = 0, n_before
    if first is not None:
        loading = _now()
        artifact = _artifact(files, answerer, first, state, result)
        models = [with_model(files, answerer, artifact) for _ in range(n_threads())]
        log = log_of(artifact)
        loaded = _now()
        for part in _parts(answered(chain([first], slices), models, partial(_observed, log))):
            answers = numbered(pl.concat([one.answers for one in part]), done)
            log.keep(done, [one.logged for one in part])
            result.add_part(done, answers)
            done, n_failed = done + len(answers), n_failed + n_errors(answers)
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


@dataclass(frozen=True, slots=True)
class _Observed:
    """The answers of a slice, and what is logged of them."""

    answers: pl.DataFrame
    logged: pl.DataFrame


def _observed(log: AnswerLog, found: AnsweredRows) -> _Observed:
    return _Observed(found.answers, log.columns(found))


def _parts(slices: Iterator[_Observed]) -> Iterator[list[_Observed]]:
    """Yield several slices together."""
    held: list[_Observed] = []
    for one in slices:
        held.append(one)
        if sum(len(each.answers) for each in held) >= PART_ROWS:
            yield held
            held = []
    if held:
        yield held


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
    path = Path(wanted.output).absolute()
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
    if (path := folder.prepared()) is not None:
        yield of_prepared(path, answerer.contract)
        return
    if (asked := folder.entries()) is not None:
        context = {name: np.array(v, dtype=np.float64) for name, v in asked.context.items()}
        yield of_entries(answerer, asked.entries, context, kept_frame(asked.kept, asked.entries))
        return
    limit_memory()  # a stranger's file
    yield of_body(answerer, folder.body(), wanted.kept())


def _asked(wanted: ScoreParameters, settings: PlatformSettings) -> tuple[str, ...]:
    """Return the fields that the questions of a request ask for."""
    if not wanted.results:
        return ()
    path = ResultFolder(settings.results_dir, wanted.results).prepared()
    return () if path is None else asked_in(path)


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
