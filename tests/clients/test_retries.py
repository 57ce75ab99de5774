"""What is sent again, after which pause, and what is not."""

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from nautilus_ml_client import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    JobFailedError,
    NoAnswerError,
    PredictionError,
    Retries,
    ServerError,
    TooManyRequestsError,
    UnavailableError,
)
from nautilus_ml_client.answers import ErrorEntry, JobFacts
from nautilus_ml_client.calls import data, jobs, models, predicting, scoring
from nautilus_ml_client.requests import Pause, Request
from nautilus_ml_client.retries import retried, seconds_of
from tests.clients.test_events import line

LOST = httpx.ReadError("the connection broke")
UNREACHED = httpx.ConnectError("connection refused")


def refusal(status, code="some_code", **headers):
    body = {"error": {"code": code, "message": "why", "details": {"a": 1}}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers={"X-Request-Id": "r1"} | named)


def run(flow, outcomes, retries=None):
    """Drive a flow with these outcomes; return the requests, the pauses and the error."""
    steps, left = retried(flow, retries or Retries()), list(outcomes)
    requests, pauses, outcome = [], [], None
    try:
        while True:
            step = steps.send(outcome)
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                outcome = None
                continue
            assert isinstance(step, Request)
            requests.append(step)
            if not left:
                return requests, pauses, None
            outcome = left.pop(0)
    except Exception as error:
        return requests, pauses, error


BAR = {"symbol": "A", "timestamp": "2007-01-03T00:00:00Z", "close": 1.0}
REPEATED = {
    "looking": lambda: models.list_models(),
    "predicting": lambda: predicting.predict("m", symbols=["A"]),
    "bars": lambda: predicting.post_bars([BAR], interval="1d"),
    "outcomes": lambda: predicting.post_outcomes([{"request_id": "r", "value": 1}]),
    "a batch": lambda: predicting.predict_batch("m", rows=[[1]]),
    "scoring": lambda: scoring.score("m", b"PAR1"),
    "an upload": lambda: data.put("d", b"a\n1\n", format="csv"),
    "making a model": lambda: models.create("m", template="tabular"),
    "training": lambda: models.train("m"),
    "validating": lambda: models.validate("m", 1),
    "describing": lambda: models.change("m", owner="me"),
    "cancelling": lambda: jobs.cancel("j"),
}
ONCE = {
    "deploying": lambda: models.deploy("m", 1, reason="r"),
    "rolling back": lambda: models.rollback("m", reason="r"),
    "withdrawing": lambda: models.withdraw("m", reason="r"),
    "archiving": lambda: models.archive("m"),
    "deleting a version": lambda: models.delete_version("m", 1, reason="r"),
    "deleting data": lambda: data.delete_data("d"),
}


@pytest.mark.parametrize("flow", REPEATED.values(), ids=list(REPEATED))
@pytest.mark.parametrize("outcome", [LOST, UNREACHED, refusal(503), refusal(502), refusal(429)])
def test_what_is_safe_is_sent_again_and_is_the_same(flow, outcome):
    requests, pauses, error = run(flow(), [outcome])
    assert (len(requests), len(pauses), error) == (2, 1, None)
    assert requests[0] == requests[1]


@pytest.mark.parametrize("flow", ONCE.values(), ids=list(ONCE))
def test_what_is_not_safe_is_sent_again_only_where_nothing_happened(flow):
    for never_done in (UNREACHED, refusal(429)):
        requests, _, error = run(flow(), [never_done])
        assert (len(requests), error) == (2, None)
    for unknown, kind in ((LOST, NoAnswerError), (refusal(503), UnavailableError)):
        requests, _, error = run(flow(), [unknown])
        assert len(requests) == 1
        assert type(error) is kind


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.DecodingError("no gzip"),
        refusal(503, code="backend_unavailable"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_what_takes_too_long_or_lasts_is_not_sent_again(outcome):
    requests, _, error = run(predicting.predict("m", symbols=["A"]), [outcome])
    assert len(requests) == 1
    assert isinstance(error, NoAnswerError | UnavailableError)


@pytest.mark.parametrize(
    "error",
    [
        ConflictError(409, "c", "m", {"a": 1}, "r", 5.0),
        NoAnswerError("GET /x", "refused", 3),
        JobFailedError(JobFacts.model_validate(line("failed", payload={}, log_tail=[]))),
        PredictionError("A", ErrorEntry(code="c", message="m")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_pickled(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (409, ConflictError),
        (422, InvalidRequestError),
        (500, ServerError),
        (504, DeadlineError),
    ],
)
def test_what_a_second_try_cannot_mend_is_raised_at_once(status, kind):
    requests, _, error = run(models.list_models(), [refusal(status)])
    assert len(requests) == 1
    assert type(error) is kind
    assert (error.status, error.code, error.message) == (status, "some_code", "why")
    assert (error.details, error.request_id) == ({"a": 1}, "r1")
    assert str(error) == f"{status} some_code: why (request r1)"


def test_the_pauses_grow_and_are_shaken_and_end():
    requests, pauses, error = run(models.list_models(), [LOST] * 9, Retries(most=5))
    assert len(requests) == 6
    assert isinstance(error, NoAnswerError)
    assert error.n_tries == 6
    assert "GET /models after 6 tries: the connection broke" in str(error)
    whole = [0.25, 0.5, 1.0, 2.0, 4.0]
    assert all(w / 2 <= pause <= w for w, pause in zip(whole, pauses, strict=True))
    assert Retries().pause(10_000, None) <= 5.0


def test_retry_after_is_waited_for():
    _, pauses, error = run(models.list_models(), [refusal(429, retry_after="7")])
    assert (pauses, error) == ([7.0], None)


def test_a_wait_that_is_too_long_is_an_error_at_once():
    requests, pauses, error = run(models.list_models(), [refusal(429, retry_after="3600")])
    assert (len(requests), pauses) == (1, [])
    assert isinstance(error, TooManyRequestsError)
    assert error.retry_after_seconds == 3600.0


def test_retry_after_may_be_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=20)
    assert 17 < seconds_of(format_datetime(soon, usegmt=True)) <= 20
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "nan", "٣", "Wed, 99 Oct", None])
def test_what_cannot_be_read_asks_for_nothing(text):
    assert seconds_of(text) is None


def test_a_long_number_does_not_overflow():
    assert seconds_of("9" * 5000) == 999_999_999.0


@pytest.mark.parametrize("retries", [0, Retries(most=0)])
def test_no_retries_means_one_try(scripted, retries):
    client = scripted(UNREACHED, retries=retries)
    with pytest.raises(NoAnswerError, match="after 1 try: connection refused"):
        client.models.list()


def test_a_job_is_asked_for_with_one_key_on_every_try():
    requests, _, _ = run(models.train("m"), [LOST, refusal(503)])
    keys = [request.headers["Idempotency-Key"] for request in requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    [other], _, _ = run(models.train("m"), [])
    assert other.headers["Idempotency-Key"] not in keys


def test_an_answer_of_a_proxy_is_an_error_of_its_family(scripted):
    client = scripted(httpx.Response(502, text="<html>Bad Gateway</html>"), retries=0)
    with pytest.raises(UnavailableError, match="502 http_502: Bad Gateway"):
        client.models.list()
