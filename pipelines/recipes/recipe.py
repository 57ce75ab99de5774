"""Recipe: names from the command line turned into the parts that make a model.

A version is a recipe fitted on all rows. Its evidence comes from walk-forward folds of the same
recipe: `fit_folds` predicts each fold by a fit that has not seen it, and `fit_decoders` gives each
fold a decoder fitted on earlier folds only.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipelines import progress
from pipelines.architectures import (
    ARCHITECTURES,
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Objective,
    TrainingRows,
)
from pipelines.architectures.hyperparameters import defaults, resolve
from pipelines.architectures.spaces import SPACES, space_of
from pipelines.data.bars import parse_interval
from pipelines.method.costs import NAMES as COST_NAMES
from pipelines.method.folds import Fold
from pipelines.method.rows import LabelledRows, OutOfFold, concatenate
from pipelines.method.uniqueness import uniqueness_weights
from pipelines.parameters import RecipeParameters, changed_from_defaults
from pipelines.templates import TEMPLATES, Template
from registry.contract import Json, ModelContract
from registry.decoder import Decoder
from registry.errors import ParameterError
from registry.trials import family_key

OUTSIDE_A_TRIAL = ("template", "horizon", "first_test", "model_name", "options")
"""Parameters that a digest does not take as they were asked for.

It writes template, horizon and changed options itself; where the tests begin belongs to a trial's
span (`registry/trials.py`), and a name changes nothing.
"""
RETURNS = "returns"
"""The question of every template whose answers are actions."""
LARGEST_SEED = 2**32 - 1
"""The largest seed that every library here takes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, checked without the algorithm's library; defaults are filled in."""

    template: Template
    architecture: str
    parameters: Mapping[str, Json]
    options: Mapping[str, Json]

    @classmethod
    def of(cls, wanted: RecipeParameters) -> "Asked":
        """Return what these names ask for.

        Raises:
            UnknownNameError: a name that no catalog has.
            ParameterError: a pair that does not go together, an unknown parameter or option, a
                value out of its range, or a seed or `recent_bars` that no fit can use.
        """
        template = TEMPLATES.get(wanted.template)
        name = wanted.architecture or template.architectures[0]
        if name not in ARCHITECTURES:
            ARCHITECTURES.get(name)
        if name not in template.architectures:
            expected = f"one of {', '.join(template.architectures)} for {template.name}"
            raise ParameterError("architecture", name, expected)
        if wanted.seed > LARGEST_SEED:
            raise ParameterError("seed", wanted.seed, f"at most {LARGEST_SEED}")
        if wanted.recent_bars == 1:
            raise ParameterError("recent_bars", 1, "0 for all bar times, or at least 2")
        parameters = _parameters(template, name, wanted.changed_parameters())
        options = resolve(template.options, wanted.changed_options())
        return cls(template, name, parameters, options)


def _parameters(template: Template, name: str, changed: Mapping[str, Json]) -> dict[str, Json]:
    """Return the defaults of architecture and template, overlaid with the changed parameters."""
    objective = template.objective({})
    space = space_of(name, objective.loss) if name in SPACES else {}
    own = dict(template.parameters.get(name, {}))
    stated = defaults(space) if space else ARCHITECTURES.get(name).parameters(objective)
    known = {**stated, **own}
    if unknown := sorted(set(changed) - set(known)):
        raise ParameterError("parameters", unknown[0], f"one of {', '.join(sorted(known))}")
    for parameter, value in changed.items():
        if parameter in space:
            space[parameter].check(parameter, value)
    return {**known, **changed}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make a model: template and algorithm resolved, the rest as they take it.

    What `feature_set` names is the kind of input's to say (`InputKind.check`).
    `wanted` is what was asked for; what nothing has to resolve (`seed`) is read there.
    """

    template: Template
    architecture: Architecture
    feature_set: str
    window: int
    horizon_bars: int
    parameters: Mapping[str, Json]
    options: Mapping[str, Json]
    wanted: RecipeParameters

    @classmethod
    def resolve(cls, wanted: RecipeParameters) -> "Recipe":
        """Return the recipe for these names; defaults come from template and architecture.

        Raises:
            UnknownNameError, ParameterError: as `Asked.of`.
        """
        asked = Asked.of(wanted)
        architecture = ARCHITECTURES.get(asked.architecture)
        return cls._of(wanted, asked.template, architecture, asked.parameters, asked.options)

    @classmethod
    def of_contract(cls, contract: ModelContract) -> "Recipe":
        """Return the recipe that made a version, even one that could not be asked for today."""
        wanted = RecipeParameters.of_contract(contract)
        template, architecture = (
            TEMPLATES.get(wanted.template),
            ARCHITECTURES.get(wanted.architecture),
        )
        return cls._of(wanted, template, architecture, contract.parameters, contract.options)

    @classmethod
    def _of(
        cls,
        wanted: RecipeParameters,
        template: Template,
        architecture: Architecture,
        parameters: Mapping[str, Json],
        options: Mapping[str, Json],
    ) -> "Recipe":
        return cls(
            template=template,
            architecture=architecture,
            feature_set=wanted.feature_set or template.feature_set,
            window=wanted.window or architecture.default_window,
            horizon_bars=wanted.horizon or template.horizon_bars,
            parameters=parameters,
            options=options,
            wanted=wanted,
        )

    def as_parameters(self) -> RecipeParameters:
        """Return the parameters that ask for this recipe with no default left open."""
        return replace(
            self.wanted,
            architecture=self.architecture.name,
            feature_set=self.feature_set,
            window=self.window,
            horizon=self.horizon_bars,
            parameters=json.dumps(dict(self.parameters)),
            options=json.dumps(dict(self.options)),
        )

    def objective(self, rows: LabelledRows) -> Objective:
        """Return the objective of a fit on rows of this label."""
        return self.template.objective(rows.spec)

    def chosen(self, rows: LabelledRows) -> "Recipe":
        """Return the recipe, with the parameters chosen that are left to the training rows."""
        training, objective = self.training(rows), self.objective(rows)
        found = self.architecture.choose(training, objective, self.parameters, self.wanted.seed)
        return replace(self, parameters=found)

    def fit(self, rows: LabelledRows, context: FitContext = QUIET) -> Estimator:
        """Fit on the rows that a fit may use, of the newest `recent_bars` times if that is set."""
        return self.fit_training(self.training(rows), self.objective(rows), context)

    def fit_training(
        self, training: TrainingRows, objective: Objective, context: FitContext = QUIET
    ) -> Estimator:
        """Fit on what `training` made of rows, which recipes of the same rows share."""
        return self.architecture.fit(
            training, objective, self.parameters, self.wanted.seed, context
        )

    def training(self, rows: LabelledRows) -> TrainingRows:
        """Return the rows of a fit, weighted by how unique their labels are."""
        recent = self.recent(rows)
        if not self.objective(rows).takes_labels:  # the newest rows count too
            nothing = np.zeros(len(recent))
            return TrainingRows(recent.X, nothing, np.ones(len(recent)), (), rows.columns)
        chosen = recent.take(recent.fit)
        weight = uniqueness_weights(chosen.t0, chosen.t1, chosen.symbol)
        return TrainingRows(chosen.X, chosen.target, weight, chosen.categorical, chosen.columns)

    def fit_decoder(self, oof: OutOfFold, rows: LabelledRows) -> Decoder:
        """Fit the decoder of a fit on the same rows; `oof` as the template takes it."""
        return self.template.fit_decoder(oof, self.recent(rows))

    def recent(self, rows: LabelledRows) -> LabelledRows:
        """Return the rows of the newest `recent_bars` decision times; all of them when 0."""
        return newest(rows, self.wanted.recent_bars) if self.wanted.recent_bars else rows

    @property
    def question(self) -> str:
        """What the recipe is tried for: returns, or what its template forecasts.

        Only trials of one question compete: nobody can choose another one's result instead.
        """
        return RETURNS if self.template.is_action else self.template.name

    def digest(self) -> str:
        """Return a digest that differs between trials: any changed parameter, seed or cost."""
        facts = self._changed() | {
            "template": self.template.name,
            "horizon_bars": self.horizon_bars,
            "costs": self.cost_spec(),
        }
        return _digest_of(facts)

    def counted_before(self, spec: Mapping[str, Json], symbols: Sequence[str]) -> tuple[str, str]:
        """Return family and recipe as trials were counted before their data were kept.

        What the data chose within the label (`spec["fitted"]`), and what only the decision depends
        on (`spec["decision"]`), made no other family.
        """
        declared = {k: v for k, v in spec.items() if k not in beside_the_label(spec)}
        family = family_key(self.template.name, declared, self.cost_spec(), symbols)
        return family, _digest_of(self._changed())

    def _changed(self) -> dict[str, Json]:
        changed = changed_from_defaults(self.wanted)
        facts: dict[str, Json] = {k: v for k, v in changed.items() if k not in OUTSIDE_A_TRIAL}
        facts |= {
            "architecture": self.architecture.name,
            "feature_set": self.feature_set,
            "window": self.window,
            "parameters": dict(self.parameters),
            "seed": self.wanted.seed,
            "recent_bars": self.wanted.recent_bars,
        }
        if options := self._changed_options():
            facts["options"] = options
        return facts

    def cost_spec(self) -> dict[str, Json]:
        """Return the template's cost assumptions with these options."""
        return self.template.cost_spec(self.options)

    def declared(self, instrument: str) -> "Recipe":
        """Return the recipe with the instrument that the source of its data declares, if any.

        Raises:
            ParameterError: another one was asked for.
        """
        if not instrument or "instrument" not in self.options:
            return self
        asked = self.options["instrument"]
        if asked not in ("", instrument):
            raise ParameterError("instrument", asked, f"{instrument}, which the source declares")
        return replace(self, options={**self.options, "instrument": instrument})

    def _changed_options(self) -> dict[str, Json]:
        """Return options that are not their defaults; of costs what they come to, however named."""
        default = defaults(self.template.options)
        changed = {k: v for k, v in self.options.items() if v != default.get(k)}
        assumed, costs = self.template.cost_spec(), self.cost_spec()
        if not assumed:
            return changed
        beside = {k: v for k, v in changed.items() if k not in ("instrument", *COST_NAMES)}
        return beside | {k: v for k, v in costs.items() if assumed.get(k) != v}


def _digest_of(facts: Mapping[str, Json]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def beside_the_label(spec: Mapping[str, Json]) -> set[str]:
    """Return the names of a label spec that the label itself does not depend on as declared.

    What the data chose (`fitted`), and what only the decision depends on (`decision`).
    """
    named = [spec.get(listing, []) for listing in ("fitted", "decision")]
    return {"fitted", "decision"}.union(*(set(cast("list[str]", names)) for names in named))


def fit_folds(
    recipe: Recipe,
    rows: LabelledRows,
    folds: Sequence[Fold],
    context_of: Callable[[str], FitContext] = FitContext,
) -> OutOfFold:
    """Predict every test row by a fit that has not seen it; pooled, in time order.

    Args:
        context_of: name of a fit ("fold 3") -> where it reports.
    """
    parts: list[OutOfFold] = []
    for fold in progress.steps(folds, "fold"):
        test = rows.take(fold.test)
        fitted = recipe.fit(rows.take(fold.train), context_of(f"fold {fold.number}"))
        scores = fold_scores(fitted, rows, test)
        parts.append(OutOfFold(test, scores, np.full(len(test), fold.number, dtype=np.int64)))
    return pool(parts, rows)


def fold_scores(fitted: Estimator, rows: LabelledRows, test: LabelledRows) -> NDArray[np.float32]:
    """Return the scores of test rows; a rolling estimator also sees what came before each."""
    n_past = int(np.searchsorted(rows.t0, test.t0.min()))  # in time order: a view, not a copy
    return fitted.walk(rows.X[:n_past], test.X, rows.spec)


def fit_decoders(
    recipe: Recipe, rows: LabelledRows, folds: Sequence[Fold], oof: OutOfFold
) -> dict[int, Decoder]:
    """Return for each fold the decoder fitted on the predictions of earlier folds only."""
    return {
        fold.number: recipe.fit_decoder(oof.take(oof.fold < fold.number), rows.take(fold.train))
        for fold in folds
    }


def pool(parts: Sequence[OutOfFold], rows: LabelledRows) -> OutOfFold:
    """Return the parts as one, in time order; of no parts, an empty one shaped like `rows`."""
    if not parts:
        nothing = np.zeros(0, dtype=np.intp)
        scores = np.zeros((0, 1), dtype=np.float32)
        return OutOfFold(rows.take(nothing), scores, np.zeros(0, dtype=np.int64))
    together = concatenate([p.rows for p in parts])
    scores = np.concatenate([p.scores for p in parts])
    return OutOfFold(together, scores, np.concatenate([p.fold for p in parts]))


def span(interval: str, n_bars: int) -> str:
    """Return `n_bars` of an interval in the interval's own unit: `5d`, `60m`; empty without one.

    Raises:
        ParameterError: an interval not written like 1d, 1h, 15m.
    """
    if not interval:
        return ""
    parse_interval(interval)
    return f"{int(interval[:-1]) * n_bars}{interval[-1]}"


def newest(rows: LabelledRows, n_times: int) -> LabelledRows:
    """Return the rows of the newest `n_times` (at least 1) decision times."""
    times = np.unique(rows.t0)[-n_times:]
    return rows.take(rows.t0 >= times[0])
