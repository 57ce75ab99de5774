"""Batch inputs: symbols or portfolios of a batch -> model inputs, slice by slice.

All slices of a batch see the same bars, however long they take and whatever is posted meanwhile.
What is wrong with one symbol or portfolio is its own error, as in a request of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import polars as pl

from pipelines.data.features import is_panel
from pipelines.recipes.answering import TIME_TYPE
from pipelines.recipes.inputs.frames import FrameInputs
from pipelines.recipes.scored_rows import ScoredRows, Slice
from pipelines.templates.portfolio_risk.answers import USUAL, check_measures
from registry.errors import MLEngineError
from serving.batch_questions import check_lengths, cutter
from serving.engine import warnings_of
from serving.forms import FORMS, ModelInput, OnlineStore, Provenance, distinct
from serving.loading import LoadedVersion
from serving.schemas import MOST_POSITIONS, PredictRequest

MOST_NAMES = 10
"""Names that a warning lists; a batch may be about a hundred thousand symbols."""


@dataclass(slots=True)
class Notes:
    """What is told beside the answers; grows with every slice."""

    ignored: dict[str, None] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    unseen: dict[str, None] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)

    def take(self, found: ModelInput) -> None:
        """Add those of some inputs."""
        self.ignored.update(dict.fromkeys(found.ignored))
        self.bases |= {s.price_basis for s in found.provenance if s.price_basis is not None}
        self.unseen.update(dict.fromkeys(found.unseen))
        self.missing.update(dict.fromkeys(found.missing))

    def facts(self, version: LoadedVersion) -> dict[str, list[str]]:
        """Return `ignored` and `warnings` as an answer has them."""
        others = self.bases - {version.contract.price_basis}
        lines = warnings_of(others, _few(self.unseen), _few(self.missing), version)
        return {"ignored": list(self.ignored), "warnings": lines}


@dataclass(frozen=True, slots=True)
class Questions:
    """What a batch asks one version about, and what its answers are called.

    `rows` makes the inputs when it is asked for them; `notes` grows meanwhile. `kind` is how the
    prediction log calls the form: `bars` or `portfolio`. `asked` are the fields asked for.
    """

    rows: ScoredRows
    notes: Notes
    kind: str
    asked: tuple[str, ...] = ()


def of_symbols(request: PredictRequest, version: LoadedVersion, online: OnlineStore) -> Questions:
    """Return a request by symbols, from the bars held now or from bars of the request.

    Raises:
        ParameterError: a symbol twice, or a list of another length.
    """
    given = request.symbols or list(request.bars or {})
    symbols = distinct(given, len(given))
    check_lengths(request, len(symbols))
    alone = not is_panel(version.feature_set)
    form, part = FORMS.get(version.template.inputs), cutter(request, symbols, cuts_bars=alone)

    def gather(start: int, end: int, seen: OnlineStore) -> ModelInput:
        return form.gather(part(start, end), version, seen, len(symbols))

    found = _questions(symbols, gather, version, online, "bars")
    if alone:
        asked = set(symbols)
        unused = [f"bars.{name}" for name in request.bars or {} if name not in asked]
        found.notes.ignored.update(dict.fromkeys(unused))
    return found


def of_portfolios(
    requests: Mapping[str, PredictRequest], version: LoadedVersion, online: OnlineStore
) -> Questions:
    """Return portfolios by their names.

    Raises:
        ParameterError: a measure that nothing is called.
    """
    names = tuple(requests)
    n_scenarios = version.contract.outputs.shape[1] or 0
    wanted = [measure for one in requests.values() for measure in one.risk_metrics or USUAL]
    asked = check_measures(list(dict.fromkeys(wanted)), n_scenarios)

    def gather(start: int, end: int, seen: OnlineStore) -> ModelInput:
        parts: dict[str, ModelInput] = {}
        errors: dict[str, MLEngineError] = {}
        form = FORMS.get(version.template.inputs)
        for name in names[start:end]:
            try:
                parts[name] = form.gather(requests[name], version, seen, MOST_POSITIONS)
            except MLEngineError as error:
                errors[name] = error
        return _together(parts, errors, asked, version)

    return replace(_questions(names, gather, version, online, "portfolio"), asked=asked)


def _questions(
    names: Sequence[str],
    gather: Callable[[int, int, OnlineStore], ModelInput],
    version: LoadedVersion,
    online: OnlineStore,
    kind: str,
) -> Questions:
    notes, seen = Notes(), online.at_this_moment(version.contract.interval)

    def one(start: int, size: int) -> Slice:
        end = min(start + size, len(names))
        found = gather(start, end, seen)
        notes.take(found)
        return _slice(found, names[start:end])

    def slices(size: int, first_row: int) -> "map[Slice]":
        return map(partial(one, size=size), range(first_row, len(names), size))

    return Questions(ScoredRows(len(names), slices), notes, kind)


def _together(
    parts: Mapping[str, ModelInput],
    errors: Mapping[str, MLEngineError],
    asked: Sequence[str],
    version: LoadedVersion,
) -> ModelInput:
    """Return portfolios as rows of one input; each asks for the measures whose flag is 1."""
    width = len(version.contract.symbols)
    X = [part.X for part in parts.values()] or [np.empty((0, width), np.float32)]
    context = {
        name: np.array([float(name in part.context) for part in parts.values()]) for name in asked
    }
    return ModelInput(
        tuple(parts),
        np.concatenate(X),
        context,
        tuple(part.provenance[0] for part in parts.values()),
        errors,
        tuple(f"{name}: {line}" for name, part in parts.items() for line in part.ignored),
        "portfolio",
    )


def _slice(found: ModelInput, names: Sequence[str]) -> Slice:
    """Return inputs at the places of their names, and what their answers repeat."""
    place = {name: i for i, name in enumerate(names)}
    rows = np.array([place[key] for key in found.keys], dtype=np.intp)
    sources = dict(zip(found.keys, found.provenance, strict=True))
    each = [sources.get(name, Provenance()) for name in names]
    kept = pl.DataFrame(
        {
            "symbol": pl.Series(names, dtype=pl.String()),
            "as_of": pl.Series([source.as_of for source in each], dtype=TIME_TYPE),
            "history_end": pl.Series([source.history_end for source in each], dtype=TIME_TYPE),
            "price_basis": pl.Series([source.price_basis for source in each], dtype=pl.String()),
        }
    )
    order = np.argsort(rows)
    X = np.ascontiguousarray(found.X[order])
    context = {name: values[order] for name, values in found.context.items()}
    errors = {place[name]: error for name, error in found.errors.items()}
    return Slice(kept, FrameInputs(rows[order], X, context, errors))


def _few(names: Mapping[str, None]) -> list[str]:
    listed = list(names)
    more = len(listed) - MOST_NAMES
    return listed if more <= 0 else [*listed[:MOST_NAMES], f"and {more} more"]
