"""Studies: an Optuna study joined by its name and gone on with, in its folder or on PostgreSQL.

What the study searches is written once, by whoever makes it; a worker that asks for something else
is refused. A trial is taken together with everything that it draws, and ended together with
everything that it found: as one change each, asked again for a minute where the storage is away.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
import sqlalchemy as sa
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from pipelines.architectures.search_ranges import Among, Searched
from pipelines.tuning.patience import patiently
from pipelines.tuning.sampling import sampler_of
from pipelines.tuning.space import Point, SearchSpace
from pipelines.tuning.storage import Journal, Lease, storage_of
from registry.contract import Json
from registry.errors import StudyUnavailableError, TrialLostError
from registry.settings import PlatformSettings

FACTS, OUTCOME = "facts", "outcome"
"""Attributes of the study: what it was made with, and what was decided."""
TAKEN, RESULT = "taken", "result"
"""Attributes of a trial: when it begins, and when it has ended by itself."""
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
    """A trial that this worker runs: Optuna's number, its place in the study, the point to try."""

    number: int
    place: int
    point: Point


T = TypeVar("T")


class KeptStudy:
    """A study as one worker sees it; used by one thread.

    Args:
        where: its folder, or an engine database on PostgreSQL.
    """

    def __init__(self, where: Path | sa.Engine, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = name
        self._kept = storage_of(where, name)
        self._replayed: JournalStorage | None = None
        self._study: optuna.Study | None = None
        self._common = IntersectionSearchSpace(include_pruned=True)
        self._lease: Lease | None = None

    @classmethod
    def of(cls, settings: PlatformSettings, engine: sa.Engine, name: str) -> "KeptStudy":
        """Return the study of this name, made or not: on PostgreSQL where the engine is there."""
        is_shared = engine.dialect.name == "postgresql"
        return cls(engine if is_shared else settings.tuning_dir / name, name)

    @classmethod
    def find(cls, settings: PlatformSettings, engine: sa.Engine, name: str) -> "KeptStudy | None":
        """Return the study of this name; None where none was made. Makes no folder."""
        is_shared = engine.dialect.name == "postgresql"
        if not is_shared and not (settings.tuning_dir / name).is_dir():
            return None
        study = cls.of(settings, engine, name)
        return None if study.facts() is None else study

    @property
    def journal(self) -> Journal:
        """Every change of the study, to read."""
        return self._kept.journal

    @property
    def _storage(self) -> JournalStorage:
        if self._replayed is None:
            self._replayed = JournalStorage(self._kept.journal)
        return self._replayed

    def facts(self) -> dict[str, Json] | None:
        """Return what the study was made with; None where it is not made yet."""
        if self.name not in optuna.get_all_study_names(self._storage):
            return None
        return cast("dict[str, Json] | None", self.loaded().user_attrs.get(FACTS))

    def make(
        self, facts: Mapping[str, Json], *, higher_is_better: bool, others: Sequence[bool] = ()
    ) -> dict[str, Json]:
        """Make the study with these facts, or return those that it was made with.

        Args:
            others: the same of each further objective.
        """
        ways = (optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE)

        def made() -> dict[str, Json]:
            if (found := self.facts()) is not None:
                return found
            study = optuna.create_study(
                storage=self._storage,
                study_name=self.name,
                directions=[ways[rises] for rises in (higher_is_better, *others)],
            )
            study.set_user_attr(FACTS, dict(facts))
            return dict(facts)

        return self._changed(made)

    def loaded(self) -> optuna.Study:
        """Return the study as Optuna knows it."""
        if self._study is None:
            self._study = optuna.load_study(study_name=self.name, storage=self._storage)
        return self._study

    def join(self) -> None:
        """Begin to be one of the study's workers."""
        self._lease = self._kept.lease()

    def leave(self) -> set[str]:
        """End being one, and return the workers that remain; one of those that leave sees none."""
        lease = self._lease
        assert lease is not None

        def left() -> set[str]:
            others = lease.others()
            lease.release()
            return others

        return self._changed(left)

    def abandon(self) -> None:
        """End being one in a hurry: whoever remains finds out."""
        if self._lease is not None:
            self._lease.release()

    def deciding(self) -> AbstractContextManager[object]:
        """Hold the right to decide, for as long as that takes."""
        return self._kept.deciding()

    def take(self, plan: Plan, n_trials: int) -> TakenTrial | None:
        """Return the trial of the lowest free place; None where the budget is spent.

        The trials of workers that are gone are given up first, so that their places are free.
        """
        return self._changed(lambda: self._taken(plan, n_trials))

    def _taken(self, plan: Plan, n_trials: int) -> TakenTrial | None:
        study = self.loaded()
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        owner = self._lease.worker if self._lease else ""
        for trial in running:
            if owner and (_record(trial) or {}).get("worker") == owner:  # taken, but not told so
                return TakenTrial(trial.number, place_of(trial), point_of(trial))
        self._give_up_stale(study, running)
        places = {record["place"] for record in map(_record, self._live(study)) if record}
        place = next(i for i in range(len(places) + 1) if i not in places)
        if place >= _last_place(plan, n_trials):
            return None
        known = plan.known[place] if place < len(plan.known) else None
        study.sampler = sampler_of(plan.sampler, plan.seed, place, known, self._common)
        trial_of = study.ask()
        point = plan.space.draw(lambda name, searched: _suggested(trial_of, name, searched))
        trial_of.set_user_attr(TAKEN, {"place": place, "worker": owner, "point": point})
        return TakenTrial(trial_of.number, place, point)

    def report(self, taken: TakenTrial, values: Sequence[float], step: int, pruner: str) -> bool:
        """Tell how a trial does in steps from this one on, and return whether it is given up.

        Raises:
            TrialLostError: others have taken this worker for gone, and its trial's place.
        """

        def reported() -> bool:
            study, frozen = self._running(taken)
            for number, value in enumerate(values, start=step):
                self._storage.set_trial_intermediate_value(frozen._trial_id, number, value)
            study.pruner = pruner_of(pruner)
            return pruner != "none" and should_prune(Trial(study, frozen._trial_id))

        return self._changed(reported)

    def end(
        self,
        taken: TakenTrial,
        state: TrialState,
        result: Mapping[str, Json],
        score: float | Sequence[float] | None,
    ) -> FrozenTrial:
        """End a trial with what it found; once, however often it is asked.

        Args:
            result: `excess` in it is by how much each limit is exceeded, which the sampler is told.
            score: of a complete trial; one number per objective where there are several.

        Raises:
            TrialLostError: others have taken this worker for gone, and its trial's place.
        """

        def ended() -> FrozenTrial:
            study, frozen = self._running(taken)
            if RESULT in frozen.user_attrs:
                return frozen
            self._storage.set_trial_user_attr(frozen._trial_id, RESULT, dict(result))
            for name, share in cast("dict[str, float]", result.get("excess", {})).items():
                Trial(study, frozen._trial_id).set_constraint(name, share)
            values = score if state == TrialState.COMPLETE else None
            return study.tell(taken.number, values=values, state=state)

        return self._changed(ended)

    def give_up(self, taken: TakenTrial) -> None:
        """End a trial that did not come to its end; its place is free again.

        Where the storage does not answer the trial is left to whoever comes next.
        """

        def given_up() -> None:
            study, frozen = self._running(taken)
            if frozen.state == TrialState.RUNNING:
                study.tell(taken.number, state=TrialState.FAIL)

        with suppress(StudyUnavailableError, TrialLostError):
            self._once(given_up)

    def ended(self) -> list[FrozenTrial]:
        """Return the trials that came to their end, in the order of their places."""
        trials = self.loaded().get_trials(deepcopy=False, states=ENDED)
        return sorted((t for t in trials if RESULT in t.user_attrs), key=place_of)

    def outcome(self) -> dict[str, Any] | None:
        """Return what was decided; None before."""
        if self.facts() is None:
            return None
        return cast("dict[str, Any] | None", self.loaded().user_attrs.get(OUTCOME))

    def keep_outcome(self, outcome: Mapping[str, Json]) -> None:
        """Keep what was decided; the newest decision counts."""
        self._changed(lambda: self.loaded().set_user_attr(OUTCOME, dict(outcome)))

    def _running(self, taken: TakenTrial) -> tuple[optuna.Study, FrozenTrial]:
        """Return the study and a trial that this worker has not lost; one it has ended is its."""
        study = self.loaded()
        frozen = study.get_trials(deepcopy=False)[taken.number]
        if frozen.state == TrialState.FAIL and RESULT not in frozen.user_attrs:
            raise TrialLostError(self.name, taken.place)
        return study, frozen

    def _live(self, study: optuna.Study) -> list[FrozenTrial]:
        trials = study.get_trials(deepcopy=False)
        return [t for t in trials if t.state != TrialState.FAIL or RESULT in t.user_attrs]

    def _give_up_stale(self, study: optuna.Study, running: list[FrozenTrial]) -> None:
        alive = self._lease.others() if self._lease and running else set()
        for trial in running:
            if (_record(trial) or {"worker": ""})["worker"] not in alive:
                study.tell(trial.number, state=TrialState.FAIL)

    def _changed(self, change: Callable[[], T]) -> T:
        """Return what a change of the study returns, made whole or not at all."""
        return patiently(lambda: self._once(change), StudyUnavailableError)

    def _once(self, change: Callable[[], T]) -> T:
        try:
            with self._kept.journal.together():
                return change()
        except BaseException:
            self._replayed = self._study = None  # they know of changes that are not kept
            self._common = IntersectionSearchSpace(include_pruned=True)
            raise


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


def _record(trial: FrozenTrial) -> dict[str, Any] | None:
    return cast("dict[str, Any] | None", trial.user_attrs.get(TAKEN))


def _last_place(plan: Plan, n_trials: int) -> int:
    return min(n_trials, len(plan.known)) if plan.sampler == "grid" else n_trials


def _suggested(trial: Trial, name: str, searched: Searched) -> Json:
    if isinstance(searched, Among):
        return cast(Json, trial.suggest_categorical(name, searched.values))  # type: ignore[arg-type]
    if searched.is_integer:
        return trial.suggest_int(name, int(searched.low), int(searched.high), log=searched.is_log)
    return trial.suggest_float(name, searched.low, searched.high, log=searched.is_log)
