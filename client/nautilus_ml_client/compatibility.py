"""Names of an earlier engine's classes, thin over `Client` (docs/compatibility.md has them all)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx

from nautilus_ml_client.answers import Curve, SearchResults
from nautilus_ml_client.client import Client
from nautilus_ml_client.errors import InputError
from nautilus_ml_client.predictions import Predictions

Question = Mapping[str, Any]


class MLEngine:
    """`predict` and its relatives, by `model_type` and `input_data`.

    Args:
        neural_engine_enabled: False: `predict_neural_accelerated` is refused.
        neural_engine_priority: taken and without effect: each version answers on whatever is
            fastest here, by measured curves.
        url, key, transport: as of `Client`.
    """

    def __init__(
        self,
        neural_engine_enabled: bool = True,
        neural_engine_priority: str = "HIGH",
        *,
        url: str = "http://127.0.0.1:8400",
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.neural_engine_enabled = neural_engine_enabled
        self.client = Client(url, key=key, transport=transport)

    def predict(self, model_type: str, input_data: Question) -> Predictions[Any]:
        """Ask a model; `input_data` are the other fields of POST /predict."""
        return self.client.predict(model_type, **input_data)

    def predict_batch(self, model_type: str, input_data: Sequence[Question]) -> Predictions[Any]:
        """Ask a model about several symbols at once, `{"symbol", "features"}` each.

        Args:
            input_data: `features` as POST /predict takes them, with one value instead of a list.
        """
        return self.client.predict_batch(model_type, questions=input_data)

    def predict_neural_accelerated(
        self, model_type: str, input_data: Any, batch_size: int = 10_000
    ) -> Predictions[Any]:
        """Ask a model on the Neural Engine, `batch_size` rows in one request.

        Where the hardware is absent another answers, and `fallback` says why.

        Args:
            input_data: rows (a frame, an array, lists, mappings), or the fields of POST /predict.

        Raises:
            InputError: the engine was made without it.
        """
        if not self.neural_engine_enabled:
            raise InputError("this MLEngine was made with neural_engine_enabled=False")
        if isinstance(input_data, Mapping):
            return self.client.predict(model_type, **input_data, hardware="neural_engine")
        return self.client.predict_batch(
            model_type, rows=input_data, batch_size=batch_size, hardware="neural_engine"
        )


class AutoMLEngine:
    """The search for models, and the winner as a version.

    Args:
        url, key, transport: as of `Client`.
        progress: draw a bar while a call waits.
    """

    def __init__(
        self,
        *,
        url: str = "http://127.0.0.1:8400",
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        progress: bool = False,
    ) -> None:
        self.client = Client(url, key=key, transport=transport)
        self._progress = progress

    def optimize(
        self,
        search_space: Question,
        training_data: str | Question | None = None,
        validation_metric: str = "sharpe_ratio",
        hardware: str | None = None,
        max_trials: int = 50,
    ) -> SearchResults:
        """Search, wait for the end, and return what was found; `found` says whether anything was.

        Args:
            training_data: the name of uploaded data, or fields of POST /automl/start that choose
                data (`source`, `symbols`, ...); None: what the server has without them.
            hardware: taken and without effect: a search runs where its worker does.

        Raises:
            InputError: the training data are neither.
            SearchFailedError: it failed or was cancelled.
        """
        body: dict[str, Any] = {
            "search_space": dict(search_space),
            "validation_metric": validation_metric,
            "max_trials": max_trials,
            **_chosen(training_data),
        }
        if hardware is not None:
            body["hardware"] = hardware
        started = self.client.automl.start(**body)
        return self.client.automl.results(started, wait=True, progress=self._progress)

    def deploy_model(
        self,
        model: SearchResults | str,
        target_hardware: str | None = None,
        production_ready: bool = False,
    ) -> SearchResults:
        """Make a version of a search's winner, and return the results with its number.

        Args:
            model: what `optimize` returned, or the id of its job.
            target_hardware: taken and without effect: a version carries an artifact for every kind
                of hardware that it fits.
            production_ready: ask for alias production.

        Raises:
            ConflictError: the search has not ended, or found nothing.
            JobFailedError: the version could not be made.
        """
        job = self.client.automl.deploy(model, promote=production_ready)
        self.client.jobs.wait(job, progress=self._progress)
        return self.client.automl.results(model)


def _chosen(training_data: str | Question | None) -> Question:
    """Return the fields that choose data."""
    if training_data is None or isinstance(training_data, Mapping):
        return training_data or {}
    if isinstance(training_data, str):
        return {"source": "data", "path": training_data}
    raise InputError("training_data: upload it by Client.data.put, and give its name here")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is fastest: `primary` is the hardware, `latency_ms` is for the whole batch."""

    primary: str
    flavor: str
    variant: str
    latency_ms: float


class HardwareRouter:
    """Tells which hardware would answer, from the curves that the server measured itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def route_workload(self, profile: Question) -> Decision:
        """Return what is fastest for `profile["batch_size"]` rows (1) of `profile["model"]`.

        Nothing is routed by this: the server decides anew with each request.

        Raises:
            InputError: no model is named, or nothing was measured for it.
        """
        model, n_rows = profile.get("model"), profile.get("batch_size", 1)
        if not isinstance(model, str) or not isinstance(n_rows, int) or n_rows < 1:
            raise InputError('profile: expected {"model": NAME, "batch_size": N}')
        loaded = self._client.models.get(model).loaded
        curves = [curve for version in loaded[:1] for curve in version.curves]
        if not curves:
            raise InputError(f"nothing is measured of {model}: it serves no version here")
        fastest = min(curves, key=lambda curve: latency_at(curve, n_rows))
        ms = latency_at(fastest, n_rows)
        return Decision(fastest.backend, fastest.flavor, fastest.variant, ms)


def latency_at(curve: Curve, n_rows: int) -> float:
    """Return the interpolated milliseconds for `n_rows`; linear beyond the last point."""
    points = list(zip(curve.batch_sizes, curve.latency_ms, strict=True))
    last, last_ms = points[-1]
    if n_rows > last:
        return last_ms * n_rows / last
    for (size, ms), (next_size, next_ms) in pairwise(points):
        if size <= n_rows <= next_size:
            return ms + (next_ms - ms) * (n_rows - size) / (next_size - size)
    return points[0][1]
