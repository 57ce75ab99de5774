"""The wire contract: what POST /predict and POST /bars take and give, as OpenAPI shows it.

Types are strict: text is not a number, `true` is not 1, an unknown field is refused by name.
Some fields give each element an error message of its own (`rows`, the columns of `features`). They
are plain lists here and are checked where they are read (`serving.forms.FORMS`, `serving.columns`).
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from pipelines.data.bars import INTERVAL, canonical_interval
from pipelines.data.symbols import LONGEST_SYMBOL, SYMBOL_PATTERN
from serving import examples

INTERVAL_PATTERN = rf"^{INTERVAL.pattern}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}$"
EARLIEST, LATEST = datetime(1800, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Limits of bar times. Other readers of the files use 64-bit nanoseconds, which hold these."""


_TIME = re.compile(  # of other texts pydantic makes a time too: "1" would be 1 s after 1970
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)


def _is_text(value: object) -> object:
    is_time = isinstance(value, str) and _TIME.fullmatch(value)
    if not is_time and not isinstance(value, datetime):
        raise ValueError("expected an ISO 8601 time with its zone, like 2007-01-03T21:00:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    if not EARLIEST < value < LATEST:
        raise ValueError(f"expected a time between the years {EARLIEST.year} and {LATEST.year}")
    return value.astimezone(UTC)


Time = Annotated[AwareDatetime, BeforeValidator(_is_text), AfterValidator(_to_utc)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Symbol = Annotated[str, Field(strict=True, pattern=SYMBOL_PATTERN, max_length=LONGEST_SYMBOL)]
Interval = Annotated[
    str, Field(strict=True, pattern=INTERVAL_PATTERN), AfterValidator(canonical_interval)
]
"""A length: `60m` is read as `1h`."""
Name = Annotated[str, Field(strict=True, pattern=NAME_PATTERN)]
Label = Annotated[str, Field(strict=True, max_length=200)]
Horizon = Annotated[str, Field(strict=True, max_length=32)]
PriceBasis = Literal["adjusted", "raw", "mid", "unknown"]
MOST_POSITIONS = 10_000
"""Of one portfolio."""
ANY_HARDWARE = ("auto", "hybrid")
"""Values of `hardware` that leave the choice to the latency curves."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class HistoryBar(_Body):
    """One bar of a symbol. A column that is absent is unknown (null).

    `timestamp` is the bar's close. Label a bar of a day or longer in the way that the other bars
    of its symbol are labelled (by its date, or by its close).
    """

    timestamp: Time
    open: Number | None = None
    high: Number | None = None
    low: Number | None = None
    close: Number
    volume: Number | None = None
    vwap: Number | None = None
    spread: Number | None = Field(default=None, description="Fraction of the mid price.")


class SymbolBar(HistoryBar):
    """One bar with its symbol."""

    symbol: Symbol


class BarsRequest(_Body):
    """Bars to keep: accepted all together or not at all."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [examples.BARS]}
    )

    bars: list[SymbolBar] = Field(min_length=1, max_length=100_000)
    interval: Interval = Field(description="Length of one bar: 1d, 1h, 5m, ...")
    price_basis: PriceBasis = Field(
        default="unknown", description="Whether prices are adjusted for splits and dividends."
    )


class BarsResponse(BaseModel):
    """How many bars were kept; they are on disk before this answer is sent."""

    accepted: int = Field(description="New bars, now on disk and used by the next /predict.")
    duplicates: int = Field(description="Bars that were held already with the same values.")
    conflicts: list[str] = Field(
        description="Bars that were held already with other values; the held ones stay."
    )
    refused: list[str] = Field(
        default=[],
        description=(
            "Bars that cannot be believed and were left out: of a time that has not come, far off "
            "the bars beside them, or of a new symbol where none is taken. PUT /bars takes them."
        ),
    )
    processing_time_ms: float
    request_id: str


class PutBarsRequest(_Body):
    """Bars to hold instead of those of their times: all together or not at all."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [examples.PUT_BARS]}
    )

    bars: list[SymbolBar] = Field(min_length=1, max_length=100_000)
    interval: Interval = Field(description="Length of one bar: 1d, 1h, 5m, ...")
    price_basis: PriceBasis | None = Field(
        default=None, description="Absent: that of the bars held of this interval."
    )
    reason: Label = Field(min_length=1, description="Why, for the event log.")


class CorrectionResponse(BaseModel):
    """What a correction changed; it is on disk, and so is its event, before this answer is sent."""

    correction: str | None = Field(
        description="Its id, which its event names too; null: nothing was changed."
    )
    replaced: int = Field(description="Bars held with other values than before.")
    added: int = Field(description="Bars held that were not.")
    removed: int = Field(description="Bars that are held no more.")
    processing_time_ms: float
    request_id: str


class ColumnFeatures(BaseModel):
    """Lists with one value per symbol, in the order of `symbols`; null means: compute it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    price_data: list[Any] | None = Field(
        default=None,
        description=(
            "The bar that is forming after the last one held: a price (its close), or an object "
            "with open, high, low, close; null: there is none, the last bar held is the newest."
        ),
    )
    volume: list[Any] | None = Field(default=None, description="Volume of the forming bar.")
    technical_indicators: dict[Label, Any] | None = Field(
        default=None,
        description=(
            "Indicator name -> one value per symbol. It replaces what the engine computes for the "
            "newest step. GET /models/{id} lists the names that a version takes; other "
            "names are listed in `ignored`."
        ),
    )


class Position(_Body):
    """One position: its weight in the portfolio, or the number of shares. Negative is short."""

    symbol: Symbol
    weight: Number | None = Field(
        default=None, description="Fraction of the portfolio's value; all weights sum to 1."
    )
    shares: Number | None = Field(
        default=None,
        description="Used when no position has a weight; valued at the last close held.",
    )


class Portfolio(_Body):
    """Positions, each symbol once."""

    positions: list[Position] = Field(min_length=1, max_length=MOST_POSITIONS)


class PredictRequest(_Body):
    """A question to one model, in one form: `rows`, `bars`, `symbols`, `texts` or `portfolio`.

    `symbols` alone predicts from the bars held (POST /bars). `features` replaces values of the
    newest step, or adds a bar that is forming.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={"examples": list(examples.PREDICT.values())},
    )

    model: Name | None = Field(
        default=None, description="Registered model; give this or model_type."
    )
    model_type: Name | None = Field(default=None, description="The same as `model`.")
    version: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        default=None, description="Version to ask; loaded when it is asked for first."
    )
    alias: Name | None = Field(default=None, description="Alias to ask; default production.")
    symbols: list[Symbol] | None = Field(default=None, min_length=1)
    features: ColumnFeatures | None = None
    timestamp: Time | None = Field(
        default=None,
        description="Close of the forming bar; default: one interval after the last bar.",
    )
    bars: dict[Symbol, list[HistoryBar]] | None = Field(
        default=None, min_length=1, description="Bars to predict from, instead of those held."
    )
    price_basis: PriceBasis | None = Field(default=None, description="Price basis of `bars`.")
    rows: list[Any] | None = Field(
        default=None,
        description=(
            "Feature rows: lists in the contract's order, objects by feature name, or lists of "
            "`window` steps for a sequence model. For a model over a table: rows of its columns, "
            "texts for categories and dates, null where a value is missing."
        ),
    )
    texts: list[Any] | None = Field(
        default=None,
        description=(
            "For sentiment: texts of at most 20,000 characters, or objects {id, text}. An answer "
            "has the id of its text, or its number when it has no id."
        ),
    )
    context: dict[Label, list[Any]] | None = Field(
        default=None,
        description="With `rows`: values that the answer needs beside features, one per row.",
    )
    prediction_horizon: Horizon | list[Horizon | None] | None = Field(
        default=None,
        description="One for all, or one per symbol; any other than the version's is refused.",
    )
    portfolio: Portfolio | None = Field(
        default=None, description="For portfolio_risk: the positions to measure."
    )
    risk_metrics: list[Label] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description=(
            "With `portfolio`: var_NN, cvar_NN, component_var_NN, marginal_var_NN, "
            "component_cvar_NN (NN a level in percent), volatility, max_drawdown, sharpe_ratio, "
            "beta; absent: the usual ones."
        ),
    )
    time_horizon: Horizon | None = Field(
        default=None, description="With `portfolio`: any other than the version's is refused."
    )
    hardware: Name | None = Field(
        default=None,
        description=(
            "Hardware wanted: cpu, neural_engine, metal_gpu or cuda_gpu; absent, auto or hybrid: "
            "whichever is fastest."
        ),
    )
    backend: Name | None = Field(default=None, description="The same as `hardware`.")
    strict: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="True: answer 503 when the backend is absent, instead of using another one.",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.model is None) == (self.model_type is None):
            raise ValueError("give exactly one of model and model_type")
        if self.version is not None and self.alias is not None:
            raise ValueError("give version or alias, not both")
        if self.hardware is not None and self.backend is not None:
            raise ValueError("give hardware or backend, not both")
        forms = (self.rows, self.bars, self.symbols, self.texts, self.portfolio)
        if all(form is None for form in forms):
            raise ValueError("give rows, or bars, or symbols, or texts, or portfolio")
        return self._fitting_fields()

    def _fitting_fields(self) -> Self:
        others = (self.rows, self.bars, self.symbols)
        if self.texts is not None and any(other is not None for other in others):
            raise ValueError("texts cannot be combined with rows, bars or symbols")
        if self.rows is not None:
            unfit = {"bars": self.bars, "features": self.features, "timestamp": self.timestamp}
            given = [name for name, value in unfit.items() if value is not None]
            if given:
                raise ValueError(f"rows cannot be combined with {', '.join(given)}")
        elif self.context is not None:
            raise ValueError("context belongs to rows; with bars or symbols it is computed")
        self._check_portfolio()
        if self.price_basis is not None and self.bars is None:
            raise ValueError("price_basis belongs to bars; the engine knows it of the bars held")
        return self

    def _check_portfolio(self) -> None:
        """Refuse fields that do not go with a portfolio, or that need one."""
        others = {
            "rows": self.rows,
            "bars": self.bars,
            "symbols": self.symbols,
            "texts": self.texts,
            "features": self.features,
            "timestamp": self.timestamp,
            "prediction_horizon": self.prediction_horizon,
        }
        given = [name for name, value in others.items() if value is not None]
        if self.portfolio is not None and given:
            raise ValueError(f"portfolio cannot be combined with {', '.join(given)}")
        alone = {"risk_metrics": self.risk_metrics, "time_horizon": self.time_horizon}
        lonely = [name for name, value in alone.items() if value is not None]
        if self.portfolio is None and lonely:
            raise ValueError(f"{lonely[0]} belongs to portfolio")

    @property
    def model_id(self) -> str:
        """Name of the registered model asked for."""
        return self.model or self.model_type or ""

    @property
    def form(self) -> str:
        """The form of the question: what is given, which decides how long an answer takes."""
        names = ("rows", "bars", "texts", "portfolio", "features", "symbols")
        return next(name for name in names if getattr(self, name) is not None)

    @property
    def n_asked(self) -> int:
        """How many answers are asked for."""
        if self.portfolio is not None:
            return len(self.portfolio.positions)
        return len(self.rows or self.texts or self.symbols or self.bars or ())

    @property
    def wanted_backend(self) -> str | None:
        """Backend asked for; None when the fastest will do."""
        wanted = self.hardware or self.backend
        return None if wanted in ANY_HARDWARE else wanted


class ErrorEntry(BaseModel):
    """What went wrong, in one line."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class ErrorResponse(BaseModel):
    """The one shape of every answer that is not 2xx."""

    error: ErrorEntry


class Prediction(BaseModel):
    """What every answer has beside the fields of its template: the bars it was made from."""

    as_of: datetime | None = Field(
        description="Close of the newest bar used; null for rows and texts."
    )
    history_end: datetime | None = Field(
        description="Last bar held, or last of `bars`; null without bars."
    )
    price_basis: str | None = Field(description="Price basis of these bars; null without bars.")


class PredictResponse(BaseModel):
    """An answer or an error for each symbol (for each row number when there are no symbols).

    The fields of an answer are the template's, which `model_type` names.
    """

    model_config = ConfigDict(
        protected_namespaces=(), json_schema_extra={"examples": [examples.ANSWER]}
    )

    model_id: str
    model_type: str
    model_version: int
    model_version_label: str = Field(description="The version as text: `v` and its number.")
    predictions: dict[str, dict[str, Any]] = Field(
        description="Symbol, row number or id of a text -> its answer."
    )
    errors: dict[str, ErrorEntry] = Field(description="Symbol -> why there is no answer for it.")
    ignored: list[str] = Field(description="Values of the request that this version does not use.")
    warnings: list[str] = Field(
        description=(
            "Differences between the bars of the answers and those of training: another "
            "price_basis, symbols that training did not have, symbols of the universe that have "
            "no bar yet."
        )
    )
    processing_time_ms: float
    hardware_used: str
    flavor: str
    fallback: str | None = Field(
        description="Why another backend answered than the one asked for; null if it did not."
    )
    request_id: str


class RiskAssessment(BaseModel):
    """Five measures of `predictions.portfolio`; null for one that `risk_metrics` leaves out."""

    var_95: float | None = Field(description="Value at risk, fraction of the portfolio's value.")
    cvar_95: float | None = Field(description="Expected shortfall, likewise.")
    max_drawdown: float | None = Field(description="Largest fall of the realised path, likewise.")
    sharpe_ratio: float | None = Field(description="Of the realised path, annualised.")
    beta: float | None = Field(description="Against the version's market.")


class ConfidenceInterval(BaseModel):
    """A central interval of the portfolio's return over the version's horizon.

    Its ends are quantiles of the version's scenarios, so `lower` is minus the value at risk at 95.
    """

    lower: float
    upper: float
    level: float = Field(description="Share of the scenarios inside: 0.9.")


class PortfolioResponse(PredictResponse):
    """The answer about a portfolio; the five measures once more under names of their own."""

    risk_assessment: RiskAssessment
    confidence_interval: ConfidenceInterval | None = Field(
        description="`predictions.portfolio.interval`; null with fewer than 20 scenarios."
    )
