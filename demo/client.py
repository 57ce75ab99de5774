"""What the demo asks of the platform, and how it prints the answers.

Everything goes through what users have: `mlflow run`, HTTP requests to serving, jobs for the
worker. What the parts have recorded meanwhile is shown by `demo.records`.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from demo.market import Message, Replay
from demo.processes import streaming
from demo.terminal import say, show_command
from pipelines.jobs import queue
from registry.database import open_engine
from registry.errors import UnavailableError
from registry.settings import PlatformSettings

CHUNK = 20_000
JOB_SECONDS = 300


class StepFailedError(UnavailableError):
    """A step of the demo did not end as expected."""

    def __init__(self, what: str, why: str) -> None:
        self.what, self.why = what, why
        super().__init__(f"{what}: {why}")


class Client:
    """One connection to the running platform."""

    def __init__(self, url: str, settings: PlatformSettings, key: str) -> None:
        self.url, self.settings = url, settings
        self.engine = open_engine(settings)
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, timeout=60, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._http.close()
        self.engine.dispose()

    # MLflow ------------------------------------------------------------------------------------

    def mlflow_run(self, entry_point: str, **parameters: str) -> None:
        """Run an entry point as a person would, its output indented.

        Raises:
            StepFailedError: it ended with another status than 0.
        """
        given = [part for k, v in parameters.items() for part in ("-P", f"{k}={v}")]
        line = ["mlflow", "run", ".", "-e", entry_point, "--env-manager", "local"]
        line += ["--experiment-name", parameters["template"]]
        show_command(line, given)
        last = "no output"
        with streaming([*line, *given]) as process:
            assert process.stdout is not None
            for text in map(str.rstrip, process.stdout):
                last = text or last
                if not _is_noise(text):
                    say(text, indent=4)
            if process.wait():
                raise StepFailedError("mlflow run", last)

    # Serving -----------------------------------------------------------------------------------

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            StepFailedError: the answer is an error.
        """
        answer = self._http.post(path, json=body)
        if answer.is_error:
            raise StepFailedError(f"POST {path}", answer.text)
        found: dict[str, Any] = answer.json()
        return found

    def post_history(self, bars: Sequence[Message]) -> None:
        """Post many bars at once, so that serving has the past of every symbol."""
        started = time.monotonic()
        for at in range(0, len(bars), CHUNK):
            self._post_bars(bars[at : at + CHUNK])
        print(f"  POST /bars: {len(bars):,} bars in {time.monotonic() - started:.1f} s")

    def wait_for_version(self, model: str, number: int, seconds: float = 30) -> None:
        """Wait until serving answers with a version.

        Raises:
            StepFailedError: it does not in time; says what serving reports instead.
        """
        deadline = time.monotonic() + seconds
        state: dict[str, Any] = {}
        while time.monotonic() < deadline:
            answer = self._http.get(f"/models/{model}")
            state = answer.json()
            if answer.is_success and number in _serving(state):
                print(f"  serving answers with {model} version {number}")
                return
            time.sleep(0.3)
        raise StepFailedError(f"{model} version {number} is not served", str(state.get("problem")))

    def predict(self, model: str, symbols: Sequence[str], **more: Any) -> dict[str, Any]:
        """Ask a model for answers from the bars held."""
        return self.post("/predict", {"model": model, "symbols": list(symbols), **more})

    def show_forecasts(self, model: str, symbols: Sequence[str]) -> None:
        """Print volatility forecasts as a table."""
        answer = self.predict(model, symbols)
        print("  symbol  as of       vol. p.a.  90 % interval     version flavor  backend     ms")
        for symbol, found in answer["predictions"].items():
            low, high = found["interval"]["lower"], found["interval"]["upper"]
            print(
                f"  {symbol:7} {found['as_of'][:10]}  {found['volatility_annualised']:8.1%}  "
                f"{low:6.1%} - {high:6.1%}  {answer['model_version']:>7} {answer['flavor']:7} "
                f"{answer['hardware_used']:7} {answer['processing_time_ms']:6.1f}"
            )

    def replay(self, model: str, days: Iterable[tuple[datetime, list[Message]]]) -> None:
        """Post each day's bars, then ask for a prediction of every symbol."""
        started, n_days, slowest = time.monotonic(), 0, 0.0
        for day, bars in days:
            self._post_bars(bars)
            asked = time.perf_counter()
            self.predict(model, [str(bar["symbol"]) for bar in bars])
            slowest = max(slowest, time.perf_counter() - asked)
            n_days += 1
            if n_days % 126 == 0:
                print(f"  {day:%Y-%m-%d}: {n_days} days", flush=True)
        taken = time.monotonic() - started
        print(
            f"  {n_days} days in {taken:.1f} s, {taken / n_days * 1e3:.0f} ms a day "
            f"(slowest prediction {slowest * 1e3:.0f} ms)"
        )

    def show_signals(self, symbols: Sequence[str], replay: Replay) -> None:
        """Send the columns-per-symbol form and print what comes back; GOOGL has no history."""
        asked = [*symbols, "GOOGL"]
        newest = [round(replay.last_close(s, "2008-12-31") * 1.002, 4) for s in symbols]
        body = {
            "model_type": "trading_signals",
            "symbols": asked,
            "features": {
                "price_data": [*newest, 100.0],
                "volume": [None, None, None],
                "technical_indicators": {"rsi": [55.0, None, 50.0], "mood": [1, 2, 3]},
            },
            "prediction_horizon": "1d",
        }
        answer = self.post("/predict", body)
        for symbol, found in answer["predictions"].items():
            shares = ", ".join(f"{k} {v:.2f}" for k, v in found["probabilities"].items())
            print(
                f"  {symbol}: {found['signal']} (abstained: {found['abstained']}), {shares}, "
                f"confidence {found['confidence']:.2f}"
            )
        for symbol, error in answer["errors"].items():
            say(f"{symbol}: {error['message']}")
        say(f"ignored in the request: {', '.join(answer['ignored'])}")

    def _post_bars(self, bars: Sequence[Message]) -> None:
        self.post("/bars", {"bars": list(bars), "interval": "1d", "price_basis": "adjusted"})

    # Jobs --------------------------------------------------------------------------------------

    def enqueue(self, entry_point: str, payload: dict[str, str], wait: bool = True) -> queue.Job:
        """Enqueue a job for the worker and wait until it has ended.

        Raises:
            StepFailedError: it failed, or takes too long.
        """
        job = queue.enqueue(self.engine, entry_point, payload, model_id=payload.get("model_name"))
        given = " ".join(f"{name}={value}" for name, value in payload.items())
        say(f"job {job.id[:8]}: {entry_point} {given}")
        return self.wait_for_job(job.id) if wait else job

    def wait_for_job(self, job_id: str) -> queue.Job:
        """Wait until a job has ended without error."""
        started = time.monotonic()
        while time.monotonic() - started < JOB_SECONDS:
            job = queue.get(self.engine, job_id)
            if job.state == "done":
                print(f"  job {job.id[:8]}: done in {time.monotonic() - started:.0f} s", flush=True)
                return job
            if job.state in ("failed", "cancelled"):
                raise StepFailedError(f"job {job.id}", f"{job.state}: {job.error}")
            time.sleep(0.3)
        raise StepFailedError(f"job {job_id}", f"not done after {JOB_SECONDS} s")


def _serving(state: dict[str, Any]) -> list[int]:
    return [v["version"] for v in state["loaded"] if v["role"] == "production"]


def _is_noise(text: str) -> bool:
    return (
        not text.strip()
        or "INFO mlflow" in text
        or text.startswith("View run")
        or "🏃" in text
        or "🧪" in text
    )
