"""What stages do around their work: one clear line on errors, runs that say what they are."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines import main, train
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.stage import exit_with, flat, platform_settings, say_what_run_is, stage_run
from registry import events
from registry.database import opened_engine
from registry.errors import (
    ArtifactStoreUnavailableError,
    NumbersRestartError,
    PairMismatchError,
    ParameterError,
)
from registry.model_store import ModelStore
from registry.settings import PlatformSettings

Stage = Callable[[list[str]], None]


def test_exit_with_turns_a_deliberate_error_into_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise ParameterError("seed", "x", "a whole number")

    with pytest.raises(SystemExit) as caught:
        exit_with(work)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: seed='x': expected a whole number\n"


def test_exit_with_turns_a_database_that_is_away_into_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        cause = Exception("server closed the connection\n  unexpectedly")
        raise sa.exc.OperationalError("SELECT 1", {}, cause)

    with pytest.raises(SystemExit) as caught:
        exit_with(work)
    assert caught.value.code == 2
    said = "error: the engine database does not answer (server closed the connection)\n"
    assert capsys.readouterr().err == said


def test_exit_with_lets_a_bug_show_its_traceback() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_with(work)


def test_parameters_of_all_groups_are_logged_flat() -> None:
    together = flat(SourceParameters(end="2006-12-31"), RecipeParameters(seed=3))
    assert (together["end"], together["seed"], together["policy"]) == ("2006-12-31", 3, "strict")


@pytest.mark.integration
@pytest.mark.usefixtures("tracking_uri")
def test_a_run_says_what_it_is_and_its_experiment_what_runs_are() -> None:
    import mlflow

    with stage_run("main", "calm_model") as run_id:
        say_what_run_is("main v3 calm_model", "made **version 3**")
    run = mlflow.get_run(run_id)
    assert run.info.run_name == "main v3 calm_model"
    assert run.data.tags["mlflow.note.content"] == "made **version 3**"
    about = mlflow.get_experiment_by_name("calm_model").tags["mlflow.note.content"]
    assert about.startswith("**main** makes a version")


@pytest.mark.integration
@pytest.mark.usefixtures("tracking_uri")
def test_a_description_that_a_person_wrote_is_kept() -> None:
    import mlflow

    experiment = mlflow.set_experiment("calm_model").experiment_id
    mlflow.MlflowClient().set_experiment_tag(experiment, "mlflow.note.content", "mine")
    with stage_run("train", "calm_model"):
        pass
    assert mlflow.get_experiment(experiment).tags["mlflow.note.content"] == "mine"


@pytest.mark.integration
@pytest.mark.usefixtures("tracking_uri")
def test_a_store_that_takes_no_file_is_one_line_on_the_run() -> None:
    import mlflow
    from requests import HTTPError, Response

    response = Response()
    response.status_code, response.url = 500, "http://mlflow/api/2.0/mlflow-artifacts/artifacts/a"
    with (
        pytest.raises(ArtifactStoreUnavailableError, match="cannot be used now"),
        stage_run("train", "calm_model") as run_id,
    ):
        raise HTTPError(f"500 Server Error for url: {response.url}", response=response)
    run = mlflow.get_run(run_id)
    assert run.info.status == "FAILED"
    assert "cannot be used now" in run.data.tags["error"]


@pytest.mark.integration
def test_a_stage_refuses_an_mlflow_of_another_engine_database(
    installation: PlatformSettings,
) -> None:
    assert platform_settings() == installation
    ModelStore(installation.mlflow_tracking_uri).set_mark("another", replace=True)
    with pytest.raises(PairMismatchError):
        platform_settings()


@pytest.mark.integration
@pytest.mark.parametrize("stage", [main.main, train.main])
def test_nothing_is_fitted_where_the_numbers_would_start_again(
    installation: PlatformSettings, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("it is fitted")

    monkeypatch.setattr(main, "train", fit)
    monkeypatch.setattr(train, "train", fit)
    with opened_engine(installation) as engine, engine.begin() as connection:
        facts: dict[str, Any] = {"actor": "main", "reason": "made", "run_id": "0" * 32}
        events.append(connection, "registered", model_id="calm", number=1, **facts)
    with pytest.raises(NumbersRestartError, match="numbers up to 1 are taken"):
        stage(["--source", "synthetic", "--model_name", "calm"])
