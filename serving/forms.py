"""Forms of requests: what a request gives -> arrays for one model call.

What is wrong with one symbol or row is its own error, and the others are answered. An error of the
whole request is raised. Nothing of a request is written. Feature rows are read here; each kind of
input (`Template.inputs`) has a file for its own form of request (`FORMS`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import is_same_interval
from pipelines.method.rows import newest_step
from pipelines.recipes.inputs import feature_rows as rows
from registry.catalog import Catalog
from registry.errors import HorizonError, MLEngineError, ParameterError, ShapeError
from serving.history import Looks, OneLook
from serving.loading import LoadedVersion
from serving.panels import Panels
from serving.schemas import PredictRequest, PredictResponse
from serving.steps import Steps


@dataclass(frozen=True, slots=True)
class Provenance:
    """The bars behind one answer: times of the newest one used and of the last held, basis."""

    as_of: datetime | None = None
    history_end: datetime | None = None
    price_basis: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Everything for one model call; one entry of `keys`, `X`, `context`, `provenance` per answer.

    `keys` are symbols, or row numbers as text. `X` is float32 (n, n_features) or
    (n, window, n_features), `context` float64 (n,) each. `errors` are the symbols left out,
    `missing` those of the universe without a bar, `unseen` those that training had no bars of.
    `form` says what the request gave, for the prediction log.
    """

    keys: tuple[str, ...]
    X: NDArray[np.float32]
    context: Mapping[str, NDArray[np.float64]]
    provenance: tuple[Provenance, ...]
    errors: Mapping[str, MLEngineError]
    ignored: tuple[str, ...]
    form: str
    missing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def newest_step(self) -> NDArray[np.float32]:
        """Features of the newest step, (n, n_features)."""
        return np.ascontiguousarray(newest_step(self.X))


@dataclass(frozen=True, slots=True)
class OnlineStore:
    """What the engine keeps at hand: bars, and the features computed from the newest ones."""

    history: Looks
    steps: Steps
    panels: Panels = field(default_factory=Panels)

    def at_this_moment(self, interval: str) -> "OnlineStore":
        """Return what is held now, whatever arrives later, for a request in many slices."""
        look = OneLook(self.history.look(interval))
        return OnlineStore(look, self.steps, self.panels.apart())


Gather = Callable[[PredictRequest, LoadedVersion, OnlineStore, int], ModelInput]
Predictions = Mapping[str, Mapping[str, Any]]
"""Key -> answer, as callers get it."""


@dataclass(frozen=True, slots=True)
class Form:
    """How requests to versions of one kind of input are read.

    `gather` takes the request, the version, what is held and the most rows. `own_fields` are the
    fields of a request that no other kind takes. `rows_are_features` says that `rows` are numbers,
    one per feature of the contract. `response` is the class of the answers; `beside` gives what it
    has beside the predictions.
    """

    gather: Gather
    own_fields: tuple[str, ...] = ()
    rows_are_features: bool = False
    response: type[PredictResponse] = PredictResponse
    beside: Callable[[Predictions], dict[str, Any]] = lambda _: {}


FORMS: Catalog[Form] = Catalog(
    "request form",
    {
        "bars": "serving.bar_inputs:FORM",
        "portfolio": "serving.portfolio:FORM",
        "table": "serving.table:FORM",
        "texts": "serving.texts:FORM",
    },
)
"""`Template.inputs` -> the form of its requests."""


def gather(
    request: PredictRequest, version: LoadedVersion, online: OnlineStore, max_rows: int
) -> ModelInput:
    """Return the model's input of a request.

    Raises:
        InvalidInputError: the request as a whole cannot be answered.
    """
    inputs = version.template.inputs
    for name, owner in _owners().items():
        if owner != inputs and (given := getattr(request, name)) is not None:
            found = len(given) if isinstance(given, list) else "given"
            raise ParameterError(name, found, f"none: {version.model_id} is asked about {inputs}")
    form = FORMS.get(inputs)
    if request.rows is not None and form.rows_are_features:
        return _from_rows(request, version, max_rows)
    return form.gather(request, version, online, max_rows)


@cache
def _owners() -> dict[str, str]:
    """Return field of a request -> the only kind of input that takes it."""
    return {field: name for name in FORMS for field in FORMS.get(name).own_fields}


def _from_rows(request: PredictRequest, version: LoadedVersion, max_rows: int) -> ModelInput:
    X = rows.matrix(request.rows or [], version.contract, max_rows)
    context = rows.columns(request.context or {}, version.context_names, len(X))
    keys = tuple(str(i) for i in range(len(X)))
    if request.symbols is not None:
        keys = distinct(request.symbols, max_rows)
        if len(keys) != len(X):
            raise ShapeError("symbols", f"{len(X)} symbols, one per row", str(len(keys)))
    for asked in set(horizons_of(request, keys).values()):
        check_horizon(asked, version)
    return ModelInput(keys, X, context, (Provenance(),) * len(X), {}, (), "rows")


def distinct(symbols: Sequence[str], max_rows: int) -> tuple[str, ...]:
    """Return the symbols of a request.

    Raises:
        ShapeError: more than `max_rows`.
        ParameterError: one of them twice.
    """
    if len(symbols) > max_rows:
        expected = f"at most {max_rows} symbols (MAX_BATCH_SIZE)"
        raise ShapeError("symbols", expected, str(len(symbols)))
    seen: set[str] = set()
    for symbol in symbols:
        if symbol in seen:
            raise ParameterError("symbols", symbol, "each symbol once")
        seen.add(symbol)
    return tuple(symbols)


def horizons_of(request: PredictRequest, keys: Sequence[str]) -> dict[str, str | None]:
    """Return the horizon asked for each key; None where the request does not say."""
    asked = request.prediction_horizon
    if not isinstance(asked, list):
        return dict.fromkeys(keys, asked)
    if len(asked) != len(keys):
        raise ShapeError("prediction_horizon", f"{len(keys)} horizons", str(len(asked)))
    return dict(zip(keys, asked, strict=True))


def _is_horizon(asked: str, horizon: str) -> bool:
    """Return whether a horizon is the version's, maybe in another unit."""
    try:
        return is_same_interval(asked, horizon)
    except ParameterError:
        return False


def check_horizon(asked: str | None, version: LoadedVersion) -> None:
    """Refuse a horizon other than the version's (HorizonError)."""
    contract = version.contract
    if asked is not None and not _is_horizon(asked.strip().lower(), contract.horizon):
        raise HorizonError(asked, contract.horizon, f"{version.model_id} v{version.number}")
