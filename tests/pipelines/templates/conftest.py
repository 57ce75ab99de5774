"""A contract to decode with."""

from collections.abc import Callable

import pytest

from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input


@pytest.fixture(scope="session")
def make_contract() -> Callable[..., ModelContract]:
    """Factory of a contract for a template, feature names and a label spec."""

    def make(template, feature_names, label_spec=None) -> ModelContract:
        return ModelContract(
            model_id=template.name,
            template=template.name,
            architecture="xgboost",
            feature_set=template.feature_set,
            feature_names=tuple(feature_names),
            feature_fingerprint="0" * 64,
            window=1,
            inputs=tensor_input(len(feature_names), 1),
            outputs=TensorSpec("scores", "float32", (None, template.objective({}).n_scores or 2)),
            horizon=f"{template.horizon_bars}d",
            horizon_bars=template.horizon_bars,
            interval="1d",
            min_history=520,
            symbols=("AAA",),
            price_basis="adjusted",
            native_format="xgboost-ubj",
            label_spec=label_spec or {},
            cost_spec=template.cost_spec(),
            parameters={},
            data=DataSpan("test", "0" * 64, "", "", 0),
            trained_until="2006-12-29T00:00:00+00:00",
            seed=0,
            git_commit="0" * 40,
            lock_sha256="0" * 64,
            created_at="2007-01-01T00:00:00+00:00",
        )

    return make
