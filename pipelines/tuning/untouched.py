"""The untouched period: the newest part of the data, which a search does not read.

The data of the search are cut before anything is made of them, so no feature, label, fold or choice
knows what follows. The winner is walked forward through the period once. Every look is an event of
the engine database: a second study that looks at the same period is counted, and its winner must
show more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import numpy as np
import sqlalchemy as sa

from pipelines.data.bars import to_microseconds
from pipelines.method.folds import Fold, walk_forward
from pipelines.method.mean_tests import least_dates
from pipelines.method.rows import LabelledRows
from pipelines.method.shared_data import share_data
from pipelines.recipes.dataset import fold_step
from pipelines.recipes.inputs import Data, Dataset, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import Evaluation, Template
from pipelines.tuning.fold_trials import Predicted, judged, predict_folds
from pipelines.tuning.shared_rows import FoldRows
from registry import events, trials
from registry.contract import Json
from registry.errors import UntouchedPeriodError
from registry.trial_data import TrialData

LOOKED = "untouched_looked"
MAY_BE_NAN = ("X", "y", "target")


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Data cut in two: what a search may read, and the times that it does not.

    `n_times`: decision times from `start` to `end`.
    """

    search: Data
    start: datetime
    end: datetime
    n_times: int


def hold_back(data: Data, template: Template, percent: int, horizon_bars: int) -> HeldBack:
    """Hold back the newest share of the times, and as many as the template needs.

    Raises:
        UntouchedPeriodError: that would be more than half of them.
    """
    times = data.frame["timestamp"].unique().sort()
    needed = max(template.untouched_times, least_dates(horizon_bars)) + horizon_bars + 1
    held = max(math.ceil(len(times) * percent / 100), needed)
    if held > len(times) // 2:
        raise UntouchedPeriodError(template.name, needed, held, len(times))
    start, end = cast(datetime, times[-held]), cast(datetime, times[-1])
    return HeldBack(data.between(None, start - timedelta(microseconds=1)), start, end, held)


# Looks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """One evaluation on an untouched period: whose, and of which data.

    `question` is what was asked of them (`Recipe.question`). `data_sha256` names the sample of the
    data that were searched before it, by which they are known again under any name.
    """

    study: str
    recipe: str
    question: str
    data_sha256: str
    start: datetime
    end: datetime

    @classmethod
    def of(cls, study: str, recipe: Recipe, data: TrialData, held: HeldBack) -> "Look":
        """Return the look of a study's winner at what it held back."""
        digest = recipe.digest()
        return cls(study, digest, recipe.question, data.sha256, held.start, held.end)

    def to_json(self) -> dict[str, Json]:
        """Return the facts of its event."""
        return {
            "study": self.study,
            "recipe": self.recipe,
            "question": self.question,
            "data_sha256": self.data_sha256,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
        }

    def overlaps(self, facts: Mapping[str, Json]) -> bool:
        """Whether another look answered the same question over half of the shorter period."""
        if facts["question"] != self.question:
            return False
        start, end = (datetime.fromisoformat(str(facts[key])) for key in ("start", "end"))
        common = min(self.end, end) - max(self.start, start)
        return common > timedelta(0) and 2 * common >= min(self.end - self.start, end - start)


def count_looks(
    engine: sa.Engine, look: Look, data: TrialData, model_id: str, run_id: str
) -> list[str]:
    """Keep a look, and return the studies of all looks at its period, this one last.

    The same study looking with the same recipe again, after it was interrupted, is one look. Data
    whose sample is not kept any more count as the same.
    """
    with engine.begin() as connection:
        events.append(
            connection,
            LOOKED,
            actor="tune",
            reason=f"winner of study {look.study}",
            model_id=model_id,
            run_id=run_id,
            facts=look.to_json(),
        )
    seen = [event.facts for event in events.of_kind(engine, LOOKED) if look.overlaps(event.facts)]
    known = trials.known_data(engine, {str(facts["data_sha256"]) for facts in seen})
    others = {found.sha256 for found in known if not share_data(data, found)}
    same = (facts for facts in seen if facts["data_sha256"] not in others)
    pairs = dict.fromkeys((str(facts["study"]), str(facts["recipe"])) for facts in same)
    ours = (look.study, look.recipe)
    return [*(study for study, recipe in pairs if (study, recipe) != ours), look.study]


# The evaluation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walked:
    """A winner's predictions and their judgement."""

    predicted: Predicted
    evaluation: Evaluation


def walk(recipe: Recipe, data: Data, searched: Dataset, held: HeldBack, known: Predicted) -> Walked:
    """Walk a recipe forward through the untouched period, refitted as its folds are.

    Args:
        recipe: with what it leaves to the data chosen by the search.
        data: all of them.
        searched: the dataset of the search; its label is kept.
        known: the recipe's predictions of it. They are made again if the rows before the period
            are others now that all data are there.

    Each fold is fitted on all rows before it. Its decoder also knows the predictions of the search.
    """
    rows = kind_of(recipe.template).rows(recipe, data, searched.label_spec)
    begins = to_microseconds(held.start)
    before = rows.take(rows.t1 < begins)
    earlier = known
    if not _are_same(before, searched.rows):
        first = to_microseconds(searched.first_test)
        past = walk_forward(before, first, fold_step(held.search, searched.first_test))
        earlier = predict_folds(recipe, before, _gathered(recipe, before, past))
    folds = walk_forward(rows, begins, fold_step(data, held.start))
    later = [Fold(fold.number + len(earlier.parts), fold.train, fold.test) for fold in folds]
    predicted = predict_folds(recipe, rows, _gathered(recipe, rows, later), earlier=earlier.parts)
    return Walked(predicted, judged(recipe, predicted, rows, data.interval))


def _are_same(rows: LabelledRows, others: LabelledRows) -> bool:
    return rows.symbols == others.symbols and all(
        np.array_equal(getattr(rows, name), getattr(others, name), equal_nan=name in MAY_BE_NAN)
        for name in (*MAY_BE_NAN, "symbol", "t0", "t1", "fit")
    )


def _gathered(recipe: Recipe, rows: LabelledRows, folds: Sequence[Fold]) -> Iterator[FoldRows]:
    for fold in folds:
        train = rows.take(fold.train)
        yield FoldRows(fold, train, recipe.training(train), rows.take(fold.test))
