"""Templates: everything about one model type in one folder.

A template says which inputs it needs, how bars become labels and context, and what an architecture
fits. It turns scores into an answer, judges the answers, and its gates say what a version must
show. Training and serving use the same code, so there is one definition and no skew. Templates
import numpy and polars only (import-linter holds that).

Extension point: one folder per model type here, one line in `TEMPLATES`, one line in
docs/templates.md; `tests/conformance/test_templates.py` then runs on it.

Guarantees of every template:
- over bars, `context` is causal (its value at bar t depends on bars up to t only) and `label` at
  bar t is NaN (y) and -1 (t1) until the label is complete;
- `decode` is deterministic, treats each row by itself, and never raises on finite scores;
- `decode_frame` gives the same answers as columns;
- `loss` is a proper score: lower is better, finite for finite scores and labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.architectures import Estimator, Objective
from pipelines.architectures.hyperparameters import Space
from pipelines.data.bars import BarSeries
from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.method.strategy import Book
from pipelines.templates.answer_fields import Answer
from pipelines.templates.answer_frames import Types, frame_of, types_of
from registry.catalog import Catalog
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError
from registry.gates import GateRow

Arrays = Mapping[str, NDArray[np.float64]]

NO_OPTIONS: Mapping[str, Json] = MappingProxyType({})

RIVAL = "rival."
"""Before the name of a rival, the outcome that holds its forecasts."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of one symbol, one entry per bar (n = number of bars).

    `y`: float64, NaN where unknown; `t1`: int64 microseconds UTC, -1 where unknown;
    `outcome`: further float64 arrays known at t1 only.
    """

    y: NDArray[np.float64]
    t1: NDArray[np.int64]
    outcome: Arrays


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judgement of out-of-fold predictions.

    `metrics` go to MLflow as they are named; `gates` are the template's own quality rows (serve
    and trade); `tables` feed the report (see `pipelines/report/panels.py` for the names it draws);
    `returns` is the active net return series per period of the strategy (None where there is
    none) and `dates` its decision times (int64 microseconds UTC). `amounts` are what its costs are
    charged on and `rates` what each costs (`pipelines/method/costs.py`). The trial's record keeps
    them, and the stage then adds what the other trials make of them (`edge.dsr`,
    `edge.choice_loss`; see `pipelines/recipes/selection_bias.py`). `book` is what the strategy
    held; the stage makes `files` of it, stored as Parquet (`pipelines/recipes/evidence_files.py`).
    """

    metrics: Mapping[str, float]
    gates: tuple[GateRow, ...]
    tables: Mapping[str, pl.DataFrame]
    returns: NDArray[np.float64] | None = None
    dates: NDArray[np.int64] | None = None
    amounts: Arrays = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    book: Book | None = None
    files: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def with_gates(self, *rows: GateRow) -> "Evaluation":
        """Return the evaluation with further gate rows."""
        return replace(self, gates=(*self.gates, *rows))


class Template(Protocol):
    """One model type; inherit from it. What is optional has a default."""

    name: str
    inputs: str
    """What rows are made of: a name of `pipelines.recipes.inputs.INPUT_KINDS`."""
    feature_set: str
    architectures: tuple[str, ...]
    parameters: ClassVar[Mapping[str, Mapping[str, Json]]]
    """Architecture -> its parameters that have another default here."""
    options: ClassVar[Space]
    """What a caller may choose about the label and the answer (`-P options='{...}'`)."""
    answer_kinds: tuple[type[Answer], ...]
    """The answers that `decode` gives; more than one where the label decides."""
    horizon_bars: int
    loss_margin: float
    """Non-inferiority margin on `loss` against a champion (0.01 QLIKE, 0.002 log loss)."""
    is_action: bool
    """Whether the answer is an action, so that a trade lock applies."""
    rivals: tuple[str, ...] = ()
    """Models that need a library and that validation fits beside this one: names of
    `pipelines.recipes.rivals.RIVALS`. `evaluate` finds their out-of-fold forecasts among the
    outcomes, as `RIVAL` and the name."""
    excess_gate: str = ""
    """The gate whose value is the mean of loss minus baseline loss out of fold; empty: none is."""
    search_metrics: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What a search may choose by: name of the metric -> its name in `Evaluation.metrics`. The
    first is the default; `loss`, which every template has, where there is none."""
    search_gaps: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({})
    """What the leaderboard of a search shows beside the score: name -> two names in
    `Evaluation.metrics`, the first minus the second of which is above 0 for the better model."""
    untouched_times: int = 126
    """Fewest decision times that a search must hold back to judge its winner on."""
    forecast_shown_as: str = ""
    """What a forecast that the report draws in percent is; empty where it is a plain number."""

    def objective(self, spec: Mapping[str, Json]) -> Objective:
        """Return the objective that architectures fit for this template with this label."""
        ...

    def label_spec(
        self, horizon_bars: int | None, training: Any, options: Mapping[str, Json]
    ) -> dict[str, Json]:
        """Return the label's parameters, fitted on the given data where they are fitted.

        Args:
            training: what `InputKind.training` gives of the data before the first test fold: a
                sequence of `BarSeries`, or a frame.
            options: every name of `self.options` with its value.

        The result is stored in the contract.
        """
        ...

    def cost_spec(self, options: Mapping[str, Json] = NO_OPTIONS) -> dict[str, Json]:
        """Return the cost assumptions, per unit of turnover in fractions; empty without actions."""
        return {}

    def target(
        self, y: NDArray[np.float64], context: Arrays
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the target of a fit, and the rows that a fit may use; both (n,)."""
        ...

    def fit_decoder(self, oof: OutOfFold, training: LabelledRows) -> Decoder:
        """Fit everything after the scores.

        Args:
            oof: out-of-fold predictions made before the rows that will be decoded; may be empty
                (then the decoder is the identity with the widest honest interval: null).
                Labels that end after the last one of `training` are left out: they were not
                known when the scores to be decoded were made.
            training: rows of the fit whose scores will be decoded (for input statistics).
        """
        ...

    def complete(self, decoder: Decoder, final: Estimator) -> Decoder:
        """Return a version's decoder with the parts that answers need of the version's own fit."""
        return decoder

    def decode(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> Sequence[Answer]:
        """Turn raw scores into answers, one per row, each of one of `answer_kinds`.

        Args:
            scores: (n, n_scores).
            features: (n, n_features), the newest step of the inputs.
            context: float64 (n,) each; NaN where the caller does not know it: the fields that
                need it are then None.
            refusals: failed gates of the trade lock; non-empty means every signal is HOLD with
                `abstained: "no_edge"`.
        """
        ...

    def answer_types(self, contract: ModelContract, asked: Sequence[str] = ()) -> Types:
        """Return field -> type of the columns of a version's answers (`decode_frame`).

        Args:
            asked: the fields asked for, of answers that have those that were asked for.
        """
        return types_of(self.answer_kinds[0], self.names_in_answers(contract))

    def names_in_answers(self, contract: ModelContract) -> tuple[str, ...]:
        """Return the names by which the mappings of a version's answers have their values."""
        return ()

    def decode_frame(
        self,
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
        context: Arrays,
        decoder: Decoder,
        contract: ModelContract,
        refusals: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Return the answers of `decode` as columns of `answer_types`, for many rows.

        Law: row i holds what `as_json` gives of answer i. A template whose answers are computed
        for millions of rows has its own, without an object per row.
        """
        answers = self.decode(scores, features, context, decoder, contract, refusals)
        return frame_of(answers, self.answer_types(contract))

    def loss(
        self, rows: LabelledRows, scores: NDArray[np.float32], decoder: Decoder
    ) -> NDArray[np.float64]:
        """Return the proper score of each row, lower is better, (n,)."""
        ...

    def baseline_loss(
        self, rows: LabelledRows, decoder: Decoder | None = None
    ) -> NDArray[np.float64]:
        """Return the same score for the template's baseline forecast, (n,).

        Args:
            decoder: holds what a baseline takes from the training slice (class frequencies);
                without it such a baseline takes it from `rows`, which flatters the baseline.
        """
        ...

    def evaluate(
        self,
        oof: OutOfFold,
        decoders: Mapping[int, Decoder],
        spec: Mapping[str, Json],
        interval: str,
    ) -> Evaluation:
        """Judge pooled out-of-fold predictions.

        Args:
            decoders: fold -> the decoder fitted on earlier folds only.
            interval: of the bars, for annualising.
        """
        ...


class BarTemplate(Template, Protocol):
    """A template whose rows are made of one symbol's bars."""

    def context(self, series: BarSeries) -> Arrays:
        """Return values known at each bar that labels and decoding need; float64 (n_bars,)."""
        ...

    def label(self, series: BarSeries, context: Arrays, spec: Mapping[str, Json]) -> Labels:
        """Return the label of each bar."""
        ...


def over_bars(template: Template) -> BarTemplate:
    """Return the template as one over bars.

    Raises:
        ParameterError: its inputs are something else.
    """
    if not hasattr(template, "context"):
        raise ParameterError("template", template.name, f"one over bars, not {template.inputs}")
    return cast(BarTemplate, template)


TEMPLATES: Catalog[Template] = Catalog(
    "template",
    {
        "volatility_forecast": "pipelines.templates.volatility_forecast:TEMPLATE",
        "trading_signals": "pipelines.templates.trading_signals:TEMPLATE",
        "return_forecast": "pipelines.templates.return_forecast:TEMPLATE",
        "market_regime": "pipelines.templates.market_regime:TEMPLATE",
        "anomaly": "pipelines.templates.anomaly:TEMPLATE",
        "sentiment": "pipelines.templates.sentiment:TEMPLATE",
        "tabular": "pipelines.templates.tabular:TEMPLATE",
        "portfolio_risk": "pipelines.templates.portfolio_risk:TEMPLATE",
    },
)
