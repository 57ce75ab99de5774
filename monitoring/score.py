"""Entry point `score`: rows of any source through a registered version, into one Parquet file.

The work is `pipelines.score`. What a request asked for by POST /predict/batch is kept in the
prediction log too, under the job that answers it; rows that somebody scores by hand are not.
"""

from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa

from monitoring.batch_log import BatchLog, JobLog
from monitoring.settings import PredictionLogSettings
from pipelines.data.results import ResultFolder
from pipelines.jobs import queue
from pipelines.jobs.job import OPEN_STATES, Job
from pipelines.parameters import SourceParameters, parse
from pipelines.recipes.answer_log import AnswerLog, NoLog
from pipelines.score import ScoreParameters, score
from pipelines.stage import exit_with, log_metrics, platform_settings, stage_run
from registry.database import opened_engine, reading
from registry.flavors import Artifact
from registry.settings import PlatformSettings, read_settings
from registry.tables import jobs
from registry.version_files import VersionFiles

GROUPS = (ScoreParameters, SourceParameters)
ENTRY_POINT = "score"


def log_of(
    wanted: ScoreParameters,
    settings: PlatformSettings,
    engine: sa.Engine,
    files: VersionFiles,
    artifact: Artifact,
) -> AnswerLog:
    """Return the log of the request whose rows are scored; one that keeps nothing of others."""
    job = _job_of(wanted, engine)
    if job is None:
        return NoLog()
    kept = read_settings(PredictionLogSettings).prediction_log_batches
    folder = ResultFolder(settings.results_dir, wanted.results)
    log = BatchLog(settings.predictions_dir, is_kept=kept)
    return JobLog.of(job, folder, files, artifact, log)


def _job_of(wanted: ScoreParameters, engine: sa.Engine) -> Job | None:
    """Return the open job that scores a request; None where somebody does it by hand."""
    if not wanted.results:
        return None
    mine = jobs.c.state.in_(OPEN_STATES) & (jobs.c.kind == ENTRY_POINT)
    query = sa.select(jobs.c.id, jobs.c.payload).where(
        mine & (jobs.c.model_id == wanted.model_name)
    )
    with reading(engine) as connection:
        found = connection.execute(query).all()
    ids = [job_id for job_id, payload in found if payload.get("results") == wanted.results]
    return queue.get(engine, ids[0]) if ids else None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    wanted, source = parse(argv, __doc__, *GROUPS)
    wanted.check()
    settings = platform_settings()
    with (
        opened_engine(settings) as engine,
        stage_run(ENTRY_POINT, wanted.model_name, wanted, source) as run_id,
    ):
        kept = partial(log_of, wanted, settings, engine)
        scored = score(wanted, source, settings, engine, kept)
        log_metrics({"n_rows": scored.n_rows, "n_errors": scored.n_errors, "s": scored.seconds})
    taken = f"{scored.seconds:.2f} s ({scored.cpu_seconds:.2f} s of processor time)"
    taken += f" after {scored.load_seconds:.2f} s of loading the model"
    told = f"{scored.n_rows} rows, {scored.n_new} of them answered now in {taken}"
    print(f"{told}, {scored.n_errors} without an answer; by {scored.artifact or 'an earlier run'}")
    print(f"run {run_id}", flush=True)


if __name__ == "__main__":
    exit_with(main)
