"""Record what this release writes, so that every later one can be tested with it.

`python tests/data/record.py 0.1.0`, once per release: two tiny models (trees and a network) are
fitted, registered in an MLflow of their own and promoted; kept are the engine database as SQL and
the files as the artifact cache holds them. `tests/test_old_data.py` opens every folder beside this.
"""

import io
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.data.features import FEATURE_SETS, fingerprint
from registry.artifacts import ArtifactCache
from registry.backends import BACKENDS
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input
from registry.database import open_engine
from registry.decoder import Decoder
from registry.flavors import FLAVORS
from registry.flavors.native import NATIVE, native_path
from registry.gates import COMMON, GATES, GateRow
from registry.settings import PlatformSettings
from registry.version_files import GOLDEN_FILE
from registry.versions import Registry
from tests.examples import parity_rows

HERE = Path(__file__).resolve().parent
MODELS = {
    "old_trees": ("xgboost", 1, {"rounds": 3, "max_depth": 2}),
    "old_network": ("lstm", 4, {"hidden": 4, "epochs": 1, "patience": 1}),
}
DECODER = Decoder(
    {
        "level": 0.9,
        "ratio_lower": 0.1,
        "ratio_upper": 3.0,
        "ewma_scale": 1.0,
        "bars_per_year": 252.0,
        "bars_per_day": 1.0,
        "n_calibration_rows": 100,
    }
)


def contract_of(model_id: str) -> ModelContract:
    architecture, window, parameters = MODELS[model_id]
    features = FEATURE_SETS.get("close_only")
    return ModelContract(
        model_id=model_id,
        template="volatility_forecast",
        architecture=architecture,
        feature_set="close_only",
        feature_names=features.feature_names,
        feature_fingerprint=fingerprint(features),
        window=window,
        inputs=tensor_input(len(features.feature_names), window),
        outputs=TensorSpec("scores", "float32", (None, 1)),
        horizon="5d",
        horizon_bars=5,
        interval="1d",
        min_history=features.min_history + window - 1,
        symbols=("AAPL", "MSFT"),
        price_basis="adjusted",
        native_format=ARCHITECTURES.get(architecture).native_format,
        label_spec={},
        cost_spec={},
        parameters=parameters,
        data=DataSpan("synthetic", "0" * 64, "2000-01-01", "2004-01-01", 1000),
        trained_until="2004-01-01T00:00:00+00:00",
        seed=7,
        git_commit="0" * 40,
        lock_sha256="0" * 64,
        created_at="2004-01-01T00:00:00+00:00",
    )


def write_files(contract: ModelContract, directory: Path) -> None:
    architecture, rng = ARCHITECTURES.get(contract.architecture), np.random.default_rng(7)
    shape = (400, *(size for size in contract.inputs.shape[1:] if size))
    X = rng.standard_normal(shape).astype(np.float32)
    rows = TrainingRows(X, rng.gamma(2.0, 0.5, len(X)), np.ones(len(X)))
    defaults = architecture.parameters(Objective("gamma"))
    native = architecture.fit(
        rows, Objective("gamma"), {**defaults, **contract.parameters}, contract.seed
    ).native()
    files = DECODER.to_files()
    for name in ("native", "onnx"):
        files |= FLAVORS.get(name).write(native, contract)
    path = native_path(native.format)
    predictor = BACKENDS.get("cpu").load(NATIVE, {path: native.payload}, contract)
    golden = io.BytesIO()
    np.savez(golden, features=X[:8], scores=predictor(X[:8]))
    for name, content in {**files, GOLDEN_FILE: golden.getvalue()}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def passing_record() -> list[GateRow]:
    required = (*COMMON.serve, *GATES.get("volatility_forecast").serve)
    values = {"quality.bias": 1.0, "quality.qlike_vs_ewma": -0.05}
    negative = {"<": -3.0}
    return parity_rows() + [
        GateRow(r.gate, values.get(r.gate, negative.get(r.comparison, 0.0)), r.comparison, r.limit)
        for r in required
    ]


def main(release: str) -> None:
    import mlflow

    with TemporaryDirectory() as folder:
        data_dir = Path(folder)
        uri = f"sqlite:///{data_dir / 'mlflow.db'}"
        os.environ["MLFLOW_TRACKING_URI"] = uri
        settings = PlatformSettings(data_dir=data_dir, mlflow_tracking_uri=uri, database_url="")
        engine = open_engine(settings)
        registry, cache = Registry(settings, engine), ArtifactCache(settings, engine)
        experiment = mlflow.create_experiment("record", (data_dir / "artifacts").as_uri())
        for model_id in MODELS:
            contract, made = contract_of(model_id), data_dir / model_id
            write_files(contract, made)
            with mlflow.start_run(experiment_id=experiment) as run:
                registry.register(made, contract, passing_record(), run.info.run_id)
            registry.promote(model_id, 1, actor="record", reason=f"release {release}")
            cache.fetch(model_id, 1)
        engine.dispose()
        target = HERE / release
        ignored = shutil.ignore_patterns("*.lock")
        shutil.copytree(settings.cache_dir, target / "cache", ignore=ignored)
        with sqlite3.connect(data_dir / "engine.db") as connection:
            (target / "engine.sql").write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
