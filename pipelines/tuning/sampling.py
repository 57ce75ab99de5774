"""Samplers: which recipe a trial tries, decided by the study's seed and the trial's place alone.

A place is a number that every trial of a study has, counted from 0. The trial of a worker that was
killed gives its place back, and the next trial takes it: so a study that was interrupted draws what
an uninterrupted one draws. The first places are known beforehand (every architecture's defaults,
then what won before); in a grid all of them are.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from pipelines.tuning.space import Point


def seed_of(study_seed: int, place: int) -> int:
    """Return the seed of a trial's draws, of 32 bits."""
    digest = hashlib.sha256(f"{study_seed}:{place}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def sampler_of(name: str, study_seed: int, place: int, known: Point | None) -> BaseSampler:
    """Return the sampler of one trial.

    Args:
        known: values that are not drawn; None where all are.
    """
    seed = seed_of(study_seed, place)
    if known is not None:
        return KnownSampler(known, seed)
    if name == "cmaes":
        return PlacedCmaEsSampler(place, seed)
    return TPESampler(seed=seed, constant_liar=True) if name == "tpe" else RandomSampler(seed)


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


class PlacedCmaEsSampler(CmaEsSampler):
    """CMA-ES (Hansen and Ostermeier 2001) that seeds itself by a trial's place, not its number."""

    def __init__(self, place: int, seed: int) -> None:
        super().__init__(seed=seed)
        self._place = place

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what CMA-ES draws for the trial at this place."""
        placed = copy.copy(trial)
        placed.number = self._place
        return super().sample_relative(study, placed, search_space)
