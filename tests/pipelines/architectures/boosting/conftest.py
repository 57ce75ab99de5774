import pytest

from registry.contract import ModelContract
from tests.examples import make_contract


@pytest.fixture
def contract_of():
    """Number of features -> the contract of a CatBoost model with one score."""

    def make(n_features: int) -> ModelContract:
        names = tuple(f"f{i}" for i in range(n_features))
        return make_contract(feature_names=names, native_format="catboost-cbm")

    return make
