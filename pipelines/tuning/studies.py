"""Studies: an Optuna study in a folder of its own, joined by its name and gone on with.

The folder holds the journal, a lease per worker, and the outcome. What the study searches is
written once, by whoever makes it; a worker that asks for something else is refused. Trials are
taken one at a time under a lock, together with everything that they draw.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from pipelines.architectures.search_ranges import Among, Searched
from pipelines.tuning.journal import FileJournal
from pipelines.tuning.leases import Lease
from pipelines.tuning.sampling import sampler_of
from pipelines.tuning.space import Point, SearchSpace
from registry.contract import Json

JOURNAL, LEASES, OUTCOME = "journal.log", "workers", "outcome.json"
LOCK, DECISION_LOCK = "study.lock", "decision.lock"
LOCK_SECONDS = 120.0
FACTS, TAKEN, RESULT = "facts", "taken", "result"
"""Attributes: of the study, of a trial when it begins, and when it has ended by itself."""
P_PRUNED, FIRST_FOLDS = 0.05, 3
"""A trial is pruned from the third fold on, where Wilcoxon's p falls below this; the test is asked
after every fold, so it gives more trials up than one in twenty equal ones (`bench/pruning.py`)."""
REDUCTION = 3
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a study draws: what every worker of it agrees on.

    `known`: the points of the first places, in order.
    """

    space: SearchSpace
    sampler: str
    pruner: str
    seed: int
    known: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class TakenTrial:
    """A trial that this worker runs: its place in the study and the point to try."""

    trial: Trial
    place: int
    point: Point


class KeptStudy:
    """A study on the disk, as one worker sees it."""

    def __init__(self, folder: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
        self.decision_lock = FileLock(folder / DECISION_LOCK)
        """Held by the one that decides, however long that takes."""
        self._storage = JournalStorage(FileJournal(folder / JOURNAL))
        self._lease: Lease | None = None

    def facts(self) -> dict[str, Json] | None:
        """Return what the study was made with; None where it is not made yet."""
        if self.name not in optuna.get_all_study_names(self._storage):
            return None
        return cast("dict[str, Json] | None", self.loaded().user_attrs.get(FACTS))

    def make(self, facts: Mapping[str, Json], *, higher_is_better: bool) -> dict[str, Json]:
        """Make the study with these facts, or return those that it was made with."""
        with self.lock:
            if (found := self.facts()) is not None:
                return found
            directions = optuna.study.StudyDirection
            direction = directions.MAXIMIZE if higher_is_better else directions.MINIMIZE
            optuna.create_study(
                storage=self._storage,
                study_name=self.name,
                direction=direction,
                load_if_exists=True,
            ).set_user_attr(FACTS, dict(facts))
        return dict(facts)

    def loaded(self) -> optuna.Study:
        """Return the study as Optuna knows it."""
        return optuna.load_study(study_name=self.name, storage=self._storage)

    def join(self) -> None:
        """Begin to be one of the study's workers."""
        self._lease = Lease(self.folder / LEASES)

    def leave(self) -> set[str]:
        """End being one, and return the workers that remain; one of those that leave sees none."""
        assert self._lease is not None
        with self.lock:
            others = self._lease.others()
            self._lease.release()
        return others

    def take(self, plan: Plan, n_trials: int) -> TakenTrial | None:
        """Return the trial of the lowest free place; None where the budget is spent.

        The trials of workers that are gone are given up first, so that their places are free.
        """
        study = self.loaded()
        study.pruner = pruner_of(plan.pruner)
        with self.lock:
            self._give_up_stale(study)
            places = {record["place"] for record in map(_taken, self._live(study)) if record}
            place = next(i for i in range(len(places) + 1) if i not in places)
            if place >= _last_place(plan, n_trials):
                return None
            known = plan.known[place] if place < len(plan.known) else None
            study.sampler = sampler_of(plan.sampler, plan.seed, place, known)
            trial = study.ask()
            point = plan.space.draw(lambda name, searched: _suggested(trial, name, searched))
            owner = self._lease.worker if self._lease else ""
            trial.set_user_attr(TAKEN, {"place": place, "worker": owner, "point": point})
        return TakenTrial(trial, place, point)

    def end(
        self, taken: TakenTrial, state: TrialState, result: Mapping[str, Json], score: float | None
    ) -> FrozenTrial:
        """End a trial with what it found.

        Args:
            score: of a complete trial.
        """
        taken.trial.set_user_attr(RESULT, dict(result))
        values = score if state == TrialState.COMPLETE else None
        return taken.trial.study.tell(taken.trial, values=values, state=state)

    def give_up(self, taken: TakenTrial) -> None:
        """End a trial that did not come to its end; its place is free again."""
        taken.trial.study.tell(taken.trial, state=TrialState.FAIL)

    def ended(self) -> list[FrozenTrial]:
        """Return the trials that came to their end, in the order of their places."""
        trials = self.loaded().get_trials(deepcopy=False, states=ENDED)
        return sorted((t for t in trials if RESULT in t.user_attrs), key=place_of)

    def _live(self, study: optuna.Study) -> list[FrozenTrial]:
        trials = study.get_trials(deepcopy=False)
        return [t for t in trials if t.state != TrialState.FAIL or RESULT in t.user_attrs]

    def _give_up_stale(self, study: optuna.Study) -> None:
        alive = self._lease.others() if self._lease else set()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (_taken(trial) or {"worker": ""})["worker"] not in alive:
                study.tell(trial.number, state=TrialState.FAIL)

    def outcome(self) -> dict[str, Any] | None:
        """Return what was decided; None before."""
        path = self.folder / OUTCOME
        return cast("dict[str, Any]", json.loads(path.read_text())) if path.is_file() else None

    def keep_outcome(self, outcome: Mapping[str, Json]) -> None:
        """Keep what was decided; the newest decision counts."""
        path = self.folder / OUTCOME
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dict(outcome), indent=2))
        part.replace(path)


def place_of(trial: FrozenTrial) -> int:
    """Return the place of a trial."""
    return int(trial.user_attrs[TAKEN]["place"])


def point_of(trial: FrozenTrial) -> dict[str, Json]:
    """Return the point that a trial tried."""
    return cast("dict[str, Json]", trial.user_attrs[TAKEN]["point"])


def result_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial found, as `search` stored it."""
    return cast("dict[str, Any]", trial.user_attrs[RESULT])


def should_prune(trial: Trial) -> bool:
    """Whether the pruner gives the trial up; on the folds that both trials have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="WilcoxonPruner")
        return trial.should_prune()


def pruner_of(name: str) -> BasePruner:
    """Return the pruner of this name."""
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=FIRST_FOLDS, reduction_factor=REDUCTION)
    if name != "wilcoxon":
        return NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=P_PRUNED, n_startup_steps=FIRST_FOLDS)


def _taken(trial: FrozenTrial) -> dict[str, Any] | None:
    return cast("dict[str, Any] | None", trial.user_attrs.get(TAKEN))


def _last_place(plan: Plan, n_trials: int) -> int:
    return min(n_trials, len(plan.known)) if plan.sampler == "grid" else n_trials


def _suggested(trial: Trial, name: str, searched: Searched) -> Json:
    if isinstance(searched, Among):
        return cast(Json, trial.suggest_categorical(name, searched.values))  # type: ignore[arg-type]
    if searched.is_integer:
        return trial.suggest_int(name, int(searched.low), int(searched.high), log=searched.is_log)
    return trial.suggest_float(name, searched.low, searched.high, log=searched.is_log)
