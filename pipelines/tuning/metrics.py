"""Metrics that a search may choose by, and which of them a template has.

All are out of fold. `loss` is the template's own proper score, averaged per date first; the others
are read from `Evaluation.metrics` (`Template.search_metrics` says where). A search by several has
a Pareto front; the first one named says which trial of it is judged. What a recipe costs a server
(`pipelines/tuning/served.py`) may stand beside a metric of skill, never alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.templates import Template
from registry.errors import ParameterError

LOSS = "loss"
LATENCY, SIZE = "latency_ms", "artifact_kb"
COSTS = (LATENCY, SIZE)
"""What a recipe costs a server; every template has them, as further objectives."""
MOST_OBJECTIVES = 3
"""Of more objectives nearly every trial lies on the front."""
HIGHER_IS_BETTER = {
    "sharpe_ratio": True,
    "ic": True,
    "rank_ic": True,
    "auc": True,
    LOSS: False,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
    "qlike": False,
    "pinball": False,
    LATENCY: False,
    SIZE: False,
}
OF_ANY_LABEL = ("sharpe_ratio", "ic", "rank_ic")
"""Metrics of decisions or ranks, which mean the same whatever the label was."""
OF_A_LOSS = tuple(n for n, higher in HIGHER_IS_BETTER.items() if not higher and n not in COSTS)
"""Metrics of which a fold tells something about the next: those that pruning may go by."""

OF_THE_LOSS = (LOSS, "log_loss", "qlike", "pinball", "rmse")
"""Metrics that order trials as the template's own loss does."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a study chooses by; `key` is its name in `Evaluation.metrics`."""

    name: str
    key: str

    @property
    def higher_is_better(self) -> bool:
        return HIGHER_IS_BETTER[self.name]

    @property
    def is_cost(self) -> bool:
        """Whether it is measured through the loaded artifact, not out of fold."""
        return self.name in COSTS

    @property
    def is_loss(self) -> bool:
        """Whether trials may be pruned by the folds that they have seen."""
        return self.name in OF_A_LOSS

    @property
    def is_the_loss(self) -> bool:
        """Whether the losses of single dates say of two trials which is better by it."""
        return self.name in OF_THE_LOSS

    def moved(self, score: float, loss: float, expected: float) -> float:
        """Return what a score becomes where the loss that it stands for becomes another one."""
        if self.name == "rmse":
            return score * math.sqrt(expected / loss) if loss > 0 else score
        return score + expected - loss

    def value(self, measured: Mapping[str, float]) -> float:
        """Return the metric.

        Args:
            measured: `Evaluation.metrics`, and `loss`; of costs, what was measured.

        Raises:
            ParameterError: these predictions have no such metric.
        """
        found = measured.get(self.key, math.nan)
        if not math.isfinite(found):
            raise ParameterError("metric", self.name, "one that these rows have; it is not finite")
        return math.sqrt(found) if self.name == "rmse" and self.key.endswith("_mse") else found


def known_metrics(template: Template) -> dict[str, str]:
    """Return the metrics that a template has, the default first: name -> `Metric.key`."""
    return {**template.search_metrics, LOSS: LOSS}


def metrics_of(template: Template, names: str, *, changes_label: bool) -> tuple[Metric, ...]:
    """Return the metrics of these names, separated by commas; empty means the template's default.

    Args:
        changes_label: whether recipes with different labels are compared.

    Raises:
        ParameterError: the template has no such metric; losses of different labels would be
            compared, which the easiest label would win; a name twice, too many names, or a cost
            that stands first.
    """
    known = known_metrics(template)
    chosen = [name.strip() for name in names.split(",")] if names.strip() else [next(iter(known))]
    if len(set(chosen)) < len(chosen) or len(chosen) > MOST_OBJECTIVES:
        raise ParameterError("metric", names, f"1 to {MOST_OBJECTIVES} different names")
    if chosen[0] in COSTS:
        expected = f"one of {', '.join(known)} first: a recipe is not chosen by its cost alone"
        raise ParameterError("metric", names, expected)
    return tuple(_metric(template, name, known, changes_label=changes_label) for name in chosen)


def _metric(
    template: Template, name: str, known: Mapping[str, str], *, changes_label: bool
) -> Metric:
    if name in COSTS:
        return Metric(name, name)
    if name not in known:
        raise ParameterError("metric", name, f"one of {', '.join(known)} for {template.name}")
    if changes_label and name not in OF_ANY_LABEL:
        usable = ", ".join(n for n in known if n in OF_ANY_LABEL) or "none here"
        expected = f"a metric that every label has ({usable}), or one horizon and fixed options"
        raise ParameterError("metric", name, expected)
    return Metric(name, known[name])
