import pytest

from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input


@pytest.fixture
def contract_of():
    """Number of features -> the contract of a CatBoost model with one score."""

    def make(n_features: int) -> ModelContract:
        return ModelContract(
            model_id="tiny",
            template="tiny",
            architecture="catboost",
            feature_set="tiny",
            feature_names=tuple(f"f{i}" for i in range(n_features)),
            feature_fingerprint="0" * 64,
            window=1,
            inputs=tensor_input(n_features, 1),
            outputs=TensorSpec("scores", "float32", (None, 1)),
            horizon="1d",
            horizon_bars=1,
            interval="1d",
            min_history=1,
            symbols=("AAA",),
            price_basis="adjusted",
            native_format="catboost-cbm",
            label_spec={},
            cost_spec={},
            parameters={},
            data=DataSpan("synthetic", "0" * 64, "2000-01-01", "2001-01-01", 500),
            trained_until="2001-01-01",
            seed=0,
            git_commit="0" * 40,
            lock_sha256="0" * 64,
            created_at="2001-01-02",
        )

    return make
