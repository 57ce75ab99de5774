"""Metrics that a search may choose by, and which of them a template has.

All are out of fold. `loss` is the template's own proper score, averaged per date first; the others
are read from `Evaluation.metrics` (`Template.search_metrics` says where).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.templates import Template
from registry.errors import ParameterError

LOSS = "loss"
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
}
OF_ANY_LABEL = ("sharpe_ratio", "ic", "rank_ic")
"""Metrics of decisions or ranks, which mean the same whatever the label was."""
OF_A_LOSS = tuple(name for name, higher in HIGHER_IS_BETTER.items() if not higher)
"""Metrics of which a fold tells something about the next: those that pruning may go by."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a study chooses by; `key` is its name in `Evaluation.metrics`."""

    name: str
    key: str

    @property
    def higher_is_better(self) -> bool:
        return HIGHER_IS_BETTER[self.name]

    @property
    def is_loss(self) -> bool:
        """Whether trials may be pruned by the folds that they have seen."""
        return self.name in OF_A_LOSS

    def value(self, measured: Mapping[str, float]) -> float:
        """Return the metric.

        Args:
            measured: `Evaluation.metrics`, and `loss`.

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


def metric_of(template: Template, name: str, *, changes_label: bool) -> Metric:
    """Return the metric of this name; empty means the template's default.

    Args:
        changes_label: whether recipes with different labels are compared.

    Raises:
        ParameterError: the template has no such metric; or losses of different labels would be
            compared, which the easiest label would win.
    """
    known = known_metrics(template)
    chosen = name or next(iter(known))
    if chosen not in known:
        raise ParameterError("metric", chosen, f"one of {', '.join(known)} for {template.name}")
    if changes_label and chosen not in OF_ANY_LABEL:
        usable = ", ".join(n for n in known if n in OF_ANY_LABEL) or "none here"
        expected = f"a metric that every label has ({usable}), or one horizon and fixed options"
        raise ParameterError("metric", chosen, expected)
    return Metric(chosen, known[chosen])
