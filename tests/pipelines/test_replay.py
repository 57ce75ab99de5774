"""Stage replay: a run fitted again gives every bit it gave, and says what has changed if not."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines import replay
from pipelines.data.sources import synthetic as market
from pipelines.recipes import manifest
from pipelines.stage import exit_with
from registry.version_files import GOLDEN_FILE

SMALL = np.array([[0.5, -2.0]], dtype=np.float32)


@pytest.fixture
def artifact(made):
    """Read a JSON artifact of a run."""
    import mlflow

    return lambda run_id: json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/replay.json"))


@pytest.mark.integration
def test_a_run_of_trees_is_reproduced_bit_by_bit(made, artifact, capsys):
    replay.main(["--run_id", made.run_of("train")])
    said = capsys.readouterr().out
    facts = artifact(said.split()[-1])
    assert facts["is_reproduced"]
    fits = {c["fit"]: c for c in facts["comparisons"]}
    assert set(fits) == {"fold 0", "fold 1", "fold 2", "fold 3", "final fit"}
    assert all(c["is_bitwise"] and c["largest"] == 0 and c["n_rows"] > 0 for c in fits.values())
    assert "same     final fit: 64 rows, every bit the same" in said


@pytest.mark.integration
@pytest.mark.parametrize("stage", ["validate", "main"])
def test_a_later_run_of_the_same_version_leads_to_its_train_run(made, made_engine, stage):
    from registry.versions import Registry

    version = Registry(made.settings, made_engine).get("by_hand", 1)
    if stage == "main":
        version = Registry(made.settings, made_engine).get("volatility_forecast", 1)
        from mlflow import MlflowClient

        found = MlflowClient().get_run(replay.train_run_of(version.run_id))
        assert found.data.tags["stage"] == "train"
        assert found.data.tags["mlflow.parentRunId"] == version.run_id
    else:
        assert replay.train_run_of(made.run_of("validate")) == made.run_of("train")


@pytest.mark.integration
def test_a_fit_that_gives_other_scores_is_not_reproduced(made, artifact, monkeypatch, capsys):
    fetch = replay.fetch_train_run

    def with_another_answer(run_id, directory):
        run = fetch(run_id, directory)
        path = run.directory / GOLDEN_FILE
        with np.load(io.BytesIO(path.read_bytes())) as golden:
            scores = golden["scores"].copy()
            scores[3] = np.nextafter(scores[3], np.float32(9))
            np.savez(path, features=golden["features"], scores=scores)
        return run

    monkeypatch.setattr(replay, "fetch_train_run", with_another_answer)
    with pytest.raises(SystemExit) as caught:
        exit_with(lambda: replay.main(["--run_id", made.run_of("train")]))
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.err.startswith(
        f"error: run {made.run_of('train')} is not reproduced: final fit: 64"
    )
    assert said.err.count("\n") == 1
    facts = artifact(said.out.split()[-1])
    assert [c["fit"] for c in facts["comparisons"] if not c["passed"]] == ["final fit"]


@pytest.mark.integration
def test_other_data_are_named_and_nothing_is_compared(made, monkeypatch, capsys):
    monkeypatch.setattr(market, "FACTOR_SHARE", 0.5)
    with pytest.raises(SystemExit) as caught:
        exit_with(lambda: replay.main(["--run_id", made.run_of("train")]))
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert "is not reproduced: data was " in said.err
    assert "fold 0" not in said.out


@pytest.mark.integration
def test_features_computed_differently_are_named(made, monkeypatch, capsys):
    monkeypatch.setattr(
        "pipelines.recipes.inputs.bars.fingerprint", lambda _: "f" * 64, raising=True
    )
    with pytest.raises(SystemExit):
        exit_with(lambda: replay.main(["--run_id", made.run_of("train")]))
    assert f"is {'f' * 64}" in capsys.readouterr().err


@pytest.mark.integration
def test_a_run_that_is_not_there(made, capsys):
    for line in ([], ["--run_id", "abc"]):
        with pytest.raises(SystemExit):
            exit_with(lambda line=line: replay.main(line))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: run_id='': expected the id of a finished run of train")
    assert second == "error: run 'abc' has no train run"


# Limits ----------------------------------------------------------------------------------------


def change(what: str) -> replay.Change:
    return replay.Change(what, "a", "b")


@pytest.mark.parametrize(
    ("native_format", "changed", "limit"),
    [
        ("xgboost-ubj", (), 0.0),
        ("xgboost-ubj", ("processor", "git_commit"), 0.0),
        ("xgboost-ubj", ("threads",), 1e-5),
        ("torch-export", (), 0.0),
        ("torch-export", ("lock_sha256",), 0.0),
        ("torch-export", ("processor",), 1e-2),
        ("arrays", ("threads",), 1e-5),
    ],
)
def test_only_another_machine_excuses_another_bit(native_format, changed, limit):
    assert replay.limit_of(native_format, [change(what) for what in changed]) == limit


def test_a_comparison_sees_one_bit():
    near = np.nextafter(SMALL, np.float32(9))
    assert replay.compare("fold 0", SMALL, SMALL.copy(), 0.0).passed
    assert not replay.compare("fold 0", SMALL, near, 0.0).passed
    assert replay.compare("fold 0", SMALL, near, 1e-5).passed
    assert not replay.compare("fold 0", SMALL, SMALL + 1, 1e-2).passed
    assert not replay.compare("fold 0", SMALL, SMALL.T.copy(), 1e9).passed
    negative = np.array([[-0.0]], dtype=np.float32)
    assert not replay.compare("fold 0", negative, -negative, 0.0).passed


def test_the_thread_count_is_what_openmp_is_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert manifest.threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert manifest.threads() >= 1


def test_an_old_manifest_can_still_be_read():
    old = {
        "source": {}, "recipe": {}, "git_commit": "x", "lock_sha256": "y", "python": "3",
        "machine": "m", "n_cpus": 2, "libraries": {},
    }  # fmt: skip
    read = manifest.Manifest.from_json(json.dumps(old))
    assert (read.threads, read.processor, read.data) == (0, "", {})
    assert manifest.Manifest.from_json(replace(read, threads=2).to_json()).threads == 2
