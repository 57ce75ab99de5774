"""Fits of stage train: watched per epoch, kept while the stage runs, taken up after a crash."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.architectures.torch_nets import training_loop
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes import manifest
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.kept_fits import kept_fits
from pipelines.stage import stage_run
from pipelines.train import train
from registry.version_files import GOLDEN_FILE

pytestmark = pytest.mark.integration

SOURCE = SourceParameters(source="synthetic", symbols="AAA", end="2002-12-31")
SHORT = {"epochs": 2, "hidden": 4, "batch_size": 256}
WANTED = RecipeParameters(
    architecture="lstm", window=4, first_test="2002-06-01", parameters=json.dumps(SHORT)
)


@pytest.fixture
def make():
    """Make a recipe and its dataset."""

    def made(**changes):
        wanted = replace(WANTED, **changes)
        return read_dataset(SOURCE, wanted, None)

    return made


def test_checkpoints_stay_where_a_stage_died_until_the_same_recipe_has_ended(
    settings, tracking_uri, make
):
    died = pytest.raises(OSError, match="going down")
    with stage_run("train", "m"), died, kept_fits(settings, *make()) as context_of:
        path = context_of("fold 0").checkpoint
        path.parent.mkdir(parents=True)
        path.write_bytes(b"kept")
        raise OSError("the machine is going down")
    assert path.read_bytes() == b"kept"
    with stage_run("train", "m"):
        for other in ({"seed": 1}, {"model_name": "other"}):  # both may be trained at once
            with kept_fits(settings, *make(**other)) as context_of:
                assert context_of("fold 0").checkpoint.parent != path.parent
        with kept_fits(settings, *make()) as context_of:
            assert context_of("fold 0").checkpoint == path
    assert list(settings.checkpoints_dir.iterdir()) == []


def test_what_a_fit_reports_is_in_the_run(settings, tracking_uri, make):
    with stage_run("train", "m") as run_id, kept_fits(settings, *make()) as context_of:
        context = context_of("fold 0")
        context.report(1, {"train_loss": 0.5})
        context.report(2, {"train_loss": 0.25})
        context.notice("stopped after epoch 2")
    from mlflow import MlflowClient

    run = MlflowClient().get_run(run_id)
    assert run.data.metrics["fit.fold_0.train_loss"] == 0.25
    assert run.data.tags["notice.fold_0"] == "stopped after epoch 2"


def golden(candidate):
    with np.load(candidate.directory / GOLDEN_FILE) as stored:
        return stored["scores"]


@pytest.mark.slow
def test_a_stage_that_died_goes_on_from_its_checkpoints(installation, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    def die(*_):
        raise OSError("the machine is going down")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "collect", die)  # after the last fit
        with pytest.raises(OSError, match="going down"):
            train(SOURCE, WANTED, installation, tmp_path / "died")
    kept = list(installation.checkpoints_dir.rglob("*.pt"))
    assert {"final.pt", "fold_0.pt"} <= {p.name for p in kept}
    assert len({p.parent for p in kept}) == 1

    def no_more_epochs(*_):
        raise AssertionError("a finished fit was fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(training_loop._Training, "run_epoch", no_more_epochs)
        resumed = train(SOURCE, WANTED, installation, tmp_path / "resumed")
    assert list(installation.checkpoints_dir.iterdir()) == []
    fresh = train(SOURCE, WANTED, installation, tmp_path / "fresh")
    np.testing.assert_array_equal(golden(resumed), golden(fresh))
    client = MlflowClient()
    for run_id in (resumed.run_id, fresh.run_id):
        history = client.get_metric_history(run_id, "fit.final.train_loss")
        assert [m.step for m in history] == [1, 2]
        metrics = client.get_run(run_id).data.metrics
        assert {f"fit.fold_{f.number}.validation_loss" for f in fresh.dataset.folds} <= set(metrics)
    assert client.get_run(resumed.run_id).data.tags["notice.final"].endswith("after epoch 2")
