"""Samplers: which recipe a trial tries, decided by the study's seed and the trial's place alone.

A place is a number that every trial of a study has, counted from 0. The trial of a worker that was
killed gives its place back, and the next trial takes it: so a study that was interrupted draws what
an uninterrupted one draws. The first places are known beforehand (every architecture's defaults,
then what won before); in a grid all of them are.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, cast

import cmaes
import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipelines.tuning.space import Point

GENERATION = "cma:generation"
"""Attribute of a trial: the generation that it was drawn from."""
FIRST_STEP = 1 / 6
"""Standard deviation of the first generation, in widths of the ranges."""


def seed_of(study_seed: int, place: int) -> int:
    """Return the seed of a trial's draws, of 32 bits."""
    digest = hashlib.sha256(f"{study_seed}:{place}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def sampler_of(
    name: str,
    study_seed: int,
    place: int,
    known: Point | None,
    common: IntersectionSearchSpace | None = None,
) -> BaseSampler:
    """Return the sampler of one trial.

    Args:
        known: values that are not drawn; None where all are.
        common: what it has found of the dimensions that all trials have, kept from trial to trial:
            without it TPE compares all trials again for each.
    """
    seed = seed_of(study_seed, place)
    if known is not None:
        return KnownSampler(known, seed)
    if name == "cmaes":
        return RebuiltCmaEsSampler(seed)
    return PlacedTpeSampler(seed, common) if name == "tpe" else RandomSampler(seed)


class PlacedTpeSampler(TPESampler):
    """TPE (Bergstra et al. 2011) of one trial; running trials count as bad ones (constant liar)."""

    def __init__(self, seed: int, common: IntersectionSearchSpace | None) -> None:
        super().__init__(seed=seed, constant_liar=True)
        if common is not None:
            self._search_space = common


class KnownSampler(RandomSampler):
    """Gives known values; what they do not name, or what is not in the space, it draws."""

    def __init__(self, known: Mapping[str, Any], seed: int) -> None:
        super().__init__(seed)
        self._known = known

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the known value of a dimension, else a random one."""
        drawn = super().sample_independent(study, trial, param_name, param_distribution)
        return self._known.get(param_name, drawn)


class RebuiltCmaEsSampler(CmaEsSampler):
    """CMA-ES (Hansen and Ostermeier 2001) whose optimiser is made anew from what trials found.

    Optuna keeps it as a pickle in the study, which whoever can write there could replace by a
    program. Each trial says its generation; a generation is told by the trials of it that came to a
    score first. Nothing of it depends on what was drawn by chance, so the same trials give the same
    optimiser.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self._seed = seed

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what CMA-ES draws for this trial; nothing for the first one."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not search_space or not complete:
            return {}
        unit = _SearchSpaceTransform(search_space, transform_0_1=True)
        optimiser = cmaes.CMA(
            mean=unit.bounds.mean(axis=1),
            sigma=FIRST_STEP,
            bounds=unit.bounds,
            n_max_resampling=10 * len(unit.bounds),
            seed=self._seed,
        )
        while len(told := _told(study, complete, optimiser, unit)) == optimiser.population_size:
            optimiser.tell(told)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, optimiser.generation)
        return unit.untransform(optimiser.ask())


def _told(
    study: Study,
    complete: Sequence[FrozenTrial],
    optimiser: cmaes.CMA,
    unit: _SearchSpaceTransform,
) -> list[tuple[NDArray[np.float64], float]]:
    """Return the points of the optimiser's generation that ended first, each with its loss."""
    of_it = (t for t in complete if t.system_attrs.get(GENERATION) == optimiser.generation)
    first = sorted(of_it, key=lambda t: (cast(datetime, t.datetime_complete), t.number))
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    pairs = ((unit.transform(t.params), sign * cast(float, t.value)) for t in first)
    return list(islice(pairs, optimiser.population_size))
