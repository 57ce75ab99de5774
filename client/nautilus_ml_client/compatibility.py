"""Names of an earlier engine's classes, thin over `Client` (docs/compatibility.md has them all)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

import httpx

from nautilus_ml_client.answers import Curve
from nautilus_ml_client.client import Client
from nautilus_ml_client.errors import InputError, NotYetError
from nautilus_ml_client.predictions import Predictions

NOT_YET = "tuning is not built yet: there is no /automl, and {call} would have nothing to call"
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
    """The search for models, which this engine does not have yet; every call says so."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what the earlier class took."""

    def optimize(self, *_: Any, **__: Any) -> NoReturn:
        """Raise.

        Raises:
            NotYetError: always; `Client.models.create` trains one recipe.
        """
        raise NotYetError(f"{NOT_YET.format(call='optimize')}; models.create trains one recipe")

    def deploy_model(self, *_: Any, **__: Any) -> NoReturn:
        """Raise.

        Raises:
            NotYetError: always; `Client.models.deploy` puts a version into production.
        """
        raise NotYetError(f"{NOT_YET.format(call='deploy_model')}; use Client.models.deploy")


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
