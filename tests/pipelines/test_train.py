"""Stage train: the files of a candidate agree with each other and with the data they came from."""

import hashlib
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from pipelines.data.upload_checks import Contents
from pipelines.data.uploads import Uploads
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.candidate import EVIDENCE_FILE
from pipelines.recipes.contracts import contract_of
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.reference import DriftProfile
from registry.contract import ModelContract
from registry.version_files import (
    ANSWERS_FILE,
    CONTRACT_FILE,
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
)

pytestmark = pytest.mark.integration


def test_a_candidate_has_every_file_that_a_version_needs(candidate):
    found = {p.relative_to(candidate.directory).as_posix() for p in candidate.directory.rglob("*")}
    expected = {CONTRACT_FILE, MANIFEST_FILE, GOLDEN_FILE, ANSWERS_FILE, REFERENCE_FILE, DRIFT_FILE}
    assert expected | {"native/model.ubj", "decoder.json", "decoder.npz"} <= found


def test_golden_scores_are_those_of_the_booster_itself(candidate):
    import xgboost

    payload = (candidate.directory / "native" / "model.ubj").read_bytes()
    booster = xgboost.Booster(model_file=bytearray(payload))
    with np.load(candidate.directory / GOLDEN_FILE) as golden:
        matrix = xgboost.DMatrix(golden["features"])
        margin = booster.predict(matrix, output_margin=True)
        assert golden["features"].shape == (64, len(candidate.contract.feature_names))
        np.testing.assert_allclose(golden["scores"][:, 0], margin, rtol=1e-6)


def test_the_final_fit_is_the_recipe_on_all_rows(candidate):
    rows = candidate.dataset.rows
    again = candidate.recipe.fit(rows).predict(rows.X[:50])
    with np.load(candidate.directory / GOLDEN_FILE) as golden:
        features, scores = golden["features"], golden["scores"]
    np.testing.assert_array_equal(rows.X[0], features[0])
    np.testing.assert_array_equal(rows.X[-1], features[-1])
    np.testing.assert_array_equal(again[0], scores[0])


def test_the_reference_panel_holds_the_inputs_of_the_training_rows(candidate):
    panel = pl.read_parquet(candidate.directory / REFERENCE_FILE)
    rows, names = candidate.dataset.rows, candidate.contract.feature_names
    assert panel.columns == ["symbol", "timestamp", *names]
    assert len(panel) == len(rows)  # the span is shorter than four years
    np.testing.assert_array_equal(panel.select(names).to_numpy(), rows.X)
    np.testing.assert_array_equal(panel["timestamp"].to_physical().to_numpy(), rows.t0)


def test_the_drift_profile_has_a_threshold_and_a_weight_for_every_feature(candidate):
    profile = DriftProfile.from_json((candidate.directory / DRIFT_FILE).read_text())
    assert set(profile.thresholds) == set(candidate.contract.feature_names)
    assert set(profile.importance) == set(candidate.contract.feature_names)
    assert sum(profile.importance.values()) == pytest.approx(1.0)


def test_out_of_fold_predictions_cover_every_row_from_the_first_test_on(candidate):
    first = min(int(candidate.dataset.rows.t0[f.test].min()) for f in candidate.dataset.folds)
    expected = candidate.dataset.rows.t0[candidate.dataset.rows.t0 >= first]
    np.testing.assert_array_equal(np.sort(candidate.oof.rows.t0), expected)


def test_the_run_counts_its_rows_and_folds(made, candidate):
    from mlflow import MlflowClient

    metrics = MlflowClient().get_run(candidate.run_id).data.metrics
    assert metrics["rows"] == len(candidate.dataset.rows)
    assert metrics["folds"] == len(candidate.dataset.folds)
    assert metrics["out_of_fold_rows"] == len(candidate.oof.rows)


def test_the_same_recipe_gives_the_same_model_in_another_run(loaded):
    first, again = loaded("volatility_forecast"), loaded("by_hand")
    assert first.run_id != again.run_id
    np.testing.assert_array_equal(first.oof.scores, again.oof.scores)
    for name in ("native/model.ubj", REFERENCE_FILE, DRIFT_FILE, "decoder.json"):
        assert (first.directory / name).read_bytes() == (again.directory / name).read_bytes()


def test_two_runs_of_a_recipe_differ_in_name_and_time_of_making_only(loaded):
    texts = [
        (loaded(m).directory / CONTRACT_FILE).read_text()
        for m in ("volatility_forecast", "by_hand")
    ]
    first, again = (json.loads(text) for text in texts)
    changed = {k for k in first if first[k] != again[k]} - {"git_commit"}
    assert changed - {"created_at"} == {"model_id"}
    assert ModelContract.from_json(texts[0]).model_id == "volatility_forecast"


def test_the_evidence_in_mlflow_is_what_was_loaded(made, candidate, tmp_path):
    import mlflow

    path = mlflow.artifacts.download_artifacts(
        run_id=candidate.run_id, artifact_path=EVIDENCE_FILE, dst_path=str(tmp_path)
    )
    with np.load(path) as stored:
        np.testing.assert_array_equal(stored["scores"], candidate.oof.scores)
        np.testing.assert_array_equal(stored["t0"], candidate.oof.rows.t0)


def test_the_contract_says_which_upload_was_read_and_where_the_next_one_is(engine, settings):
    uploads = Uploads(engine, settings.uploads_dir, reserve_bytes=0)
    content = "".join(["a,b,y\n", *(f"{i % 7},{i % 5},{i % 2}\n" for i in range(80))]).encode()
    with uploads.arriving("churn", "csv") as arriving:
        arriving.write(content)
        uploads.keep("churn", arriving, Contents("table", "csv", 80, ("a", "b", "y")), "test")
    source = SourceParameters(source="data", path="churn")
    wanted = RecipeParameters(
        template="tabular", architecture="logistic", options='{"target": "y"}'
    )
    recipe, dataset = read_dataset(source, wanted, settings)
    contract = contract_of(recipe, dataset, source, SimpleNamespace(n_scores=2))
    assert contract.data.file_sha256 == hashlib.sha256(content).hexdigest()
    assert ModelContract.from_json(contract.to_json()) == contract
    again = kind_of("tabular").repeated(contract, datetime.now(UTC))
    assert SourceParameters(**again) == source
