"""A contract to decode with."""

from collections.abc import Callable

import pytest

from registry.contract import ModelContract
from tests.examples import make_contract


@pytest.fixture(scope="session")
def contract_of() -> Callable[..., ModelContract]:
    """Factory of a contract for a template, feature names and a label spec."""

    def make(template, feature_names, label_spec=None) -> ModelContract:
        return make_contract(
            template.objective({}).n_scores or 2,
            template=template.name,
            feature_set=template.feature_set,
            feature_names=tuple(feature_names),
            horizon=f"{template.horizon_bars}d",
            horizon_bars=template.horizon_bars,
            label_spec=label_spec or {},
            cost_spec=template.cost_spec(),
        )

    return make
