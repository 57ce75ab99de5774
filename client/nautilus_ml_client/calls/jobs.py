"""Jobs: listed, looked at, followed, waited for, cancelled."""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from nautilus_ml_client.answers import (
    JobAnswer,
    JobFacts,
    JobLine,
    JobList,
    NewestJob,
    SearchStarted,
    SearchState,
    WinnerDeployment,
)
from nautilus_ml_client.errors import (
    ClientError,
    JobFailedError,
    NoAnswerError,
    UnavailableError,
    WaitTimeoutError,
)
from nautilus_ml_client.events import EventParser
from nautilus_ml_client.progress import ProgressBar, Progressing
from nautilus_ml_client.requests import (
    Flow,
    Item,
    Pause,
    Piece,
    Request,
    Stream,
    address,
    answered,
    get,
    post,
    read,
)

S = TypeVar("S", bound=Progressing)
L = TypeVar("L", JobLine, SearchState)
JOB = "/jobs/{job_id}"
OPEN_STATES = ("queued", "leased")
SHORTEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.25, 2.0
COME_BACK_SECONDS = 1.0
AWAY_SECONDS = 120.0
"""How long a server may be away while something is waited for."""
Asked = JobAnswer | SearchStarted | WinnerDeployment
Which = str | Asked | JobLine | JobFacts | NewestJob | SearchState


def list_jobs(
    *,
    state: str | None = None,
    model_id: str | None = None,
    entry_point: str | None = None,
    limit: int = 100,
) -> Flow[list[JobLine]]:
    """List jobs, newest first; each filter must match."""
    request = get("/jobs", state=state, model_id=model_id, entry_point=entry_point, limit=limit)
    return (yield from answered(request, JobList)).jobs


def get_job(job: Which) -> Flow[JobFacts]:
    """Show a job: state, progress, time left, the end of its output, its run."""
    return (yield from answered(get(_at(job)), JobFacts))


def cancel(job: Which, *, reason: str = "cancelled") -> Flow[JobFacts]:
    """Cancel a job; one that has ended is answered as it is."""
    request = post(_at(job, "/cancel"), {"reason": reason}, is_repeatable=True)
    return (yield from answered(request, JobFacts))


def wait(
    job: Which, *, timeout_seconds: float | None = None, progress: bool = False
) -> Flow[JobFacts]:
    """Wait until a job has ended, and return it done.

    A server that restarts is waited for, two minutes at most.

    Args:
        job: its id, or what the call that asked for it returned.
        timeout_seconds: None waits as long as it takes.
        progress: draw a bar with stage and time left on standard error.

    Raises:
        JobFailedError: it failed or was cancelled.
        WaitTimeoutError: it has not ended in time; it goes on.
    """
    found = yield from until_ended(partial(get_job, job), id_of(job), timeout_seconds, progress)
    if found.state != "done":
        raise JobFailedError(found)
    return found


def until_ended(
    look: Callable[[], Flow[S]], job_id: str, timeout_seconds: float | None, progress: bool
) -> Flow[S]:
    """Look at a job again and again until it has ended; see `wait`."""
    with ProgressBar(is_drawn=progress) as bar:
        patience, pause, started = Patience(), SHORTEST_LOOK_SECONDS, monotonic()
        while True:
            try:
                found = yield from look()
            except (NoAnswerError, UnavailableError) as error:
                patience.lose(error)
            else:
                patience = Patience()
                bar.show(found)
                if found.state not in OPEN_STATES:
                    return found
            if timeout_seconds is not None and monotonic() - started >= timeout_seconds:
                raise WaitTimeoutError(f"job {job_id} has not ended in {timeout_seconds:g} s")
            yield Pause(pause)
            pause = min(LONGEST_LOOK_SECONDS, pause * 1.5)


def events(job: Which) -> Stream[JobLine]:
    """Follow a job: yield its state now and whenever it changes, until it has ended.

    When the server stops, or the connection breaks, the stream is opened again and goes on after
    the event that was seen last; two minutes at most.
    """
    yield from followed(_at(job, "/events"), JobLine)


def followed(path: str, kind: type[L]) -> Stream[L]:
    """Follow what is at an address as server-sent events; see `events`."""
    known, patience = "", Patience()
    while True:
        try:
            response = yield _opening(path, known)
        except (NoAnswerError, UnavailableError) as error:
            patience.lose(error)
            yield Pause(COME_BACK_SECONDS)
            continue
        if response.status_code == 204:
            return
        parser = EventParser()
        while isinstance(piece := (yield Piece()), bytes):
            for event in parser.feed(piece):
                known, patience = event.id, Patience()
                line = read(kind, event.data)
                yield Item(line)
                if line.state not in OPEN_STATES:
                    return
        yield Pause(COME_BACK_SECONDS)


def _opening(path: str, known: str) -> Request:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": known} if known else {})
    return Request("GET", path, headers=headers, is_repeatable=True, is_stream=True)


class Patience:
    """How long the server has been away since it answered last."""

    def __init__(self) -> None:
        self._since: float | None = None

    def lose(self, error: ClientError) -> None:
        """Note that it did not answer; raise the error when it has been away for too long."""
        now = monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > AWAY_SECONDS:
            raise error


def id_of(job: Any) -> str:
    """Return the id of a job, or of what the call that asked for it returned."""
    return job if isinstance(job, str) else str(job.job_id)


def _at(job: Which, end: str = "") -> str:
    return address(JOB + end, job_id=id_of(job))
