"""MLflow's own loaders on registered versions, with unpickling forbidden."""

import numpy as np
import pandas as pd
import pytest

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.recipes.candidate import write_files
from registry.artifacts import ArtifactCache
from registry.database import open_engine
from registry.decoder import Decoder
from registry.flavors import FLAVORS
from registry.mlflow_flavors import LOADED_BY_MLFLOW
from registry.version_files import artifacts
from registry.versions import Registry
from tests.examples import make_contract

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("mlflow_loaders")]

NAMES = ("return_1", "return_5", "log_ewma_variance")
FACTS = {
    "level": 0.9,
    "ratio_lower": 0.25,
    "ratio_upper": 4.0,
    "ewma_scale": 1.0,
    "bars_per_year": 252.0,
    "bars_per_day": 1.0,
}
FLAVOR_OF = {"xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost"}
ALGORITHMS = (*FLAVOR_OF, "ridge")


def make_rows(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)).astype(np.float32)
    y = np.exp(0.5 * X[:, 0]) * rng.gamma(2.0, 0.5, n)
    return TrainingRows(X, y.astype(np.float64), np.ones(n))


ROWS = make_rows(8, 2).X
FRAME = pd.DataFrame(ROWS.astype(np.float64), columns=NAMES)


def fit(algorithm):
    architecture = ARCHITECTURES.get(algorithm)
    objective = Objective("gamma" if "gamma" in architecture.objectives else "squared")
    known = architecture.parameters(objective)
    chosen = {k: v for k, v in {"rounds": 20, "nthread": 1}.items() if k in known}
    return architecture.fit(make_rows(400, 1), objective, chosen, 7)


@pytest.fixture(scope="module")
def fitted():
    return {algorithm: fit(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def store(fitted, tmp_path_factory, new_installation, enter):
    """An installation in which a version of each algorithm is registered, under its name."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("store")
    settings = new_installation(folder / "var")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        enter(patch, settings)
        uri = settings.mlflow_tracking_uri
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = client.create_experiment("loaders", (folder / "artifacts").as_uri())
        run_id = client.create_run(experiment).info.run_id
        engine = open_engine(settings)
        for algorithm, estimator in fitted.items():
            native = estimator.native()
            contract = make_contract(
                model_id=algorithm,
                architecture=algorithm,
                feature_names=NAMES,
                native_format=native.format,
            )
            files = Decoder(FACTS).to_files()
            for name in ("native", "onnx"):
                files |= FLAVORS.get(name).write(native, contract)
            (folder / algorithm).mkdir()
            write_files(folder / algorithm, list(files.items()))
            Registry(settings, engine).register(folder / algorithm, contract, [], run_id)
        engine.dispose()
    return settings


@pytest.fixture
def mlflow(store, enter, monkeypatch):
    """MLflow at that installation; it may not unpickle."""
    enter(monkeypatch, store)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow

    return mlflow


def listed(mlflow, algorithm):
    return mlflow.models.Model.load(f"models:/{algorithm}/1").flavors


def expected(fitted, algorithm):
    return fitted[algorithm].predict(ROWS)[:, 0]


def test_xgboost_loads_its_booster(mlflow, fitted):
    import mlflow.xgboost
    import xgboost

    booster = mlflow.xgboost.load_model("models:/xgboost/1")
    found = booster.predict(xgboost.DMatrix(ROWS), output_margin=True)
    np.testing.assert_allclose(found, expected(fitted, "xgboost"), rtol=1e-6)


def test_lightgbm_loads_its_booster(mlflow, fitted):
    import mlflow.lightgbm

    booster = mlflow.lightgbm.load_model("models:/lightgbm/1")
    found = booster.predict(ROWS, raw_score=True)
    np.testing.assert_allclose(found, expected(fitted, "lightgbm"), rtol=1e-6)


def test_catboost_loads_its_model(mlflow, fitted):
    import mlflow.catboost

    model = mlflow.catboost.load_model("models:/catboost/1")
    found = model.predict(ROWS, prediction_type="RawFormulaVal")
    np.testing.assert_allclose(found, expected(fitted, "catboost"), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_onnx_loads_the_graph_of_each(mlflow, fitted, algorithm):
    import mlflow.onnx
    import onnxruntime

    graph = mlflow.onnx.load_model(f"models:/{algorithm}/1")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(None, {"features": ROWS})
    np.testing.assert_allclose(found[:, 0], expected(fitted, algorithm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pyfunc_answers_for_each(mlflow, fitted, algorithm):
    answers = mlflow.pyfunc.load_model(f"models:/{algorithm}/1").predict(FRAME)
    found = [answer["volatility_annualised"] for answer in answers]
    wanted = np.sqrt(np.exp(expected(fitted, algorithm)) * np.exp(ROWS[:, 2]) * 252)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_what_mlflow_loads_stands_under_its_names(mlflow, algorithm):
    flavors = set(listed(mlflow, algorithm)) - {"python_function", "onnx"}
    assert flavors == {FLAVOR_OF.get(algorithm, "nautilus_arrays")}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_requirements_name_what_the_loaders_import(mlflow, store, algorithm):
    engine = open_engine(store)
    files = ArtifactCache(store, engine).fetch(algorithm, 1)
    engine.dispose()
    lines = files.read("requirements.txt").decode().splitlines()
    packages = {line.partition("==")[0] for line in lines}
    kinds = {files.contract.native_format, *(a.flavor for a in artifacts(files.digests))}
    wanted = [LOADED_BY_MLFLOW[kind] for kind in kinds & set(LOADED_BY_MLFLOW)]
    assert {name for flavor in wanted for name in (*flavor.library, *flavor.further)} <= packages
    assert len(lines) == len(set(lines))
