"""Challenger against champion, on the newest labelled window that neither fit has seen.

The challenger's recipe is fitted a second time on rows whose labels end before the window; the
champion is scored as it was registered. A window that overlaps the champion's training span is
refused as evidence, and so are losses on two different labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP, from_microseconds
from pipelines.method.bootstrap import MINIMUM_PERIODS, compare_losses
from pipelines.method.rows import LabelledRows
from pipelines.recipes.recipe import Recipe, fold_scores, newest
from pipelines.recipes.score import per_time, score
from registry.contract import Json
from registry.errors import ParameterError, TooLittleHistoryError
from registry.gates import BETTER, NON_INFERIOR, GateRow
from registry.version_files import VersionFiles

if TYPE_CHECKING:
    from pipelines.recipes.candidate import Candidate

MARGIN_OF_GAIN = 0.02
DESCRIPTIVE = ("hold_share", "fitted", "interval", "false_alarm_rate")
"""Names of a label spec that report, or describe the answer; the label does not depend on them."""
OF_THE_INPUTS = ("columns", "center", "scale")
"""Names that say how a version of a table reads its columns and standardises its target. Each
version is scored with its own, and both losses are in the challenger's units (`score`)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Mean loss per bar time of both, on the same rows, and the gate rows."""

    champion: int
    start: datetime
    end: datetime
    timestamp: NDArray[np.int64]
    champion_loss: NDArray[np.float64]
    challenger_loss: NDArray[np.float64]
    baseline_loss: NDArray[np.float64]
    gates: tuple[GateRow, ...]

    def table(self) -> pl.DataFrame:
        """Return one row per bar time, for the picture."""
        return pl.DataFrame(
            {
                "timestamp": pl.Series(self.timestamp).cast(TIMESTAMP),
                "champion": self.champion_loss,
                "challenger": self.challenger_loss,
                "baseline": self.baseline_loss,
            }
        )


def challenge(
    candidate: "Candidate", champion: VersionFiles, trigger: str, n_times: int
) -> Challenge:
    """Score candidate and champion on the newest `n_times` labelled bar times.

    Args:
        trigger: what forced the refresh (then non-inferiority is enough); empty means nothing
            did, and the challenger must be better.

    Raises:
        ParameterError: fewer bar times than a bootstrap needs.
        TooLittleHistoryError: not enough labelled times, or nothing left to fit on.
    """
    if n_times < MINIMUM_PERIODS:
        raise ParameterError("challenge_bars", n_times, f"at least {MINIMUM_PERIODS} bar times")
    rows = candidate.dataset.rows
    window = newest(rows, n_times)
    start = int(window.t0.min())
    earlier = rows.take(rows.t1 < start)
    if len(np.unique(window.t0)) < n_times or not len(earlier):
        what = f"a challenge on {n_times} bar times, with a fit before them,"
        needed = n_times + candidate.recipe.horizon_bars + 1
        hint = "lower challenge_bars or read more bars"
        raise TooLittleHistoryError(what, needed, len(np.unique(rows.t0)), hint)
    recipe = candidate.recipe
    refit = recipe.fit(earlier)
    known = candidate.oof.take(candidate.oof.rows.t1 < start)
    decoder = recipe.fit_decoder(known, earlier)
    scores = fold_scores(refit, rows, window)
    challenger_loss = recipe.template.loss(window, scores, decoder)
    if refit.is_rolling:
        champion_loss = _walked(champion, rows, window)
    else:
        champion_loss = score(champion, candidate.dataset.data, window)
    baseline = recipe.template.baseline_loss(window, champion.decoder)
    times, means = per_time(window, champion_loss, challenger_loss, baseline)
    gates = _gates(candidate, champion, trigger, start, means, refit.is_rolling)
    return Challenge(
        int(champion.number),
        from_microseconds(start),
        from_microseconds(int(window.t1.max())),
        times,
        means[0],
        means[1],
        means[2],
        gates,
    )


def _walked(
    champion: VersionFiles, rows: LabelledRows, window: LabelledRows
) -> NDArray[np.float64]:
    """Return the losses of the champion's recipe, fitted before the window and moved through it.

    A version that is refitted every day holds the state of its last day, which lies inside the
    window. So its recipe is compared instead: fitted without the window, then moved forward day by
    day.
    """
    recipe = Recipe.of_contract(champion.contract)
    fitted = recipe.fit(rows.take(rows.t1 < window.t0.min()))
    scores = fold_scores(fitted, rows, window)
    return recipe.template.loss(window, scores, champion.decoder)


def _gates(
    candidate: "Candidate",
    champion: VersionFiles,
    trigger: str,
    start: int,
    means: NDArray[np.float64],
    is_rolling: bool,
) -> tuple[GateRow, ...]:
    recipe, theirs = candidate.recipe, champion.contract
    least = recipe.template.loss_margin
    non_inferior = replace(NON_INFERIOR, comparison="<", limit=least)
    known_until = datetime.fromisoformat(theirs.trained_until)
    begins = from_microseconds(start)
    first = theirs.data.shown(begins.isoformat())
    if is_rolling:  # not the version is scored but its recipe, fitted before the window
        known_until = begins - timedelta(microseconds=1)
    ours = candidate.contract.label_spec
    if why := objection(ours, theirs.label_spec, known_until, begins, theirs.data.shown):
        return ((non_inferior if trigger else BETTER).row(None, why),)
    against = int(champion.number)
    champion_loss, challenger_loss, baseline = means
    worse = compare_losses(
        challenger_loss - champion_loss, seed=recipe.wanted.seed, least_block=recipe.horizon_bars
    )
    note = (
        f"version {against} on {len(champion_loss)} bar times from {first}; mean loss champion "
        f"{champion_loss.mean():.4f}, challenger {challenger_loss.mean():.4f}, baseline "
        f"{baseline.mean():.4f}; P(worse) {worse.p_worse:.3f}"
    )
    if is_rolling:
        note = f"{note}; both recipes were fitted before the window and walked forward through it"
    if not trigger:
        return (BETTER.row(worse.p_worse, note, against),)
    gain = max(0.0, float((baseline - champion_loss).mean()))
    margin = max(least, MARGIN_OF_GAIN * gain)
    note = f"{note}; one-sided 95 % bound"
    return (replace(non_inferior, limit=margin).row(worse.upper, note, against),)


def objection(
    ours: Mapping[str, Json],
    theirs: Mapping[str, Json],
    trained_until: datetime,
    start: datetime,
    shown: Callable[[str], str],
) -> str:
    """Return the reason why two losses over a window are no evidence; empty when they are.

    Args:
        ours, theirs: label parameters of the challenger and of the champion.
        trained_until: when the newest label of the champion's fit was complete.
        start: first decision of the window.
        shown: how an ISO time is told to people.
    """
    if trained_until >= start:
        known = shown(trained_until.isoformat())
        return f"the champion was trained until {known}, inside the window"
    decided = {*cast("list[str]", ours.get("decision", []))}
    decided |= {*cast("list[str]", theirs.get("decision", [])), "decision"}
    for name in sorted({*ours, *theirs} - {*DESCRIPTIVE, *OF_THE_INPUTS} - decided):
        if ours.get(name) != theirs.get(name):
            return f"another label: {name} is {ours.get(name)}, the champion's {theirs.get(name)}"
    return ""
