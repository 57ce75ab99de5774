"""How far a search says it is."""

from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from pipelines import progress
from pipelines.tuning import search as searching


@pytest.fixture
def todo(ridge_study):
    """A study of four recipes, in which a trial scores 0.5."""
    study, plan = ridge_study([1, 2, 3, 4])
    return SimpleNamespace(study=study, plan=plan, metric=SimpleNamespace(name="loss"))


def test_epochs_of_a_trial_do_not_say_how_far_the_search_is(todo, tmp_path, monkeypatch):
    path, heard = tmp_path / "progress", []
    monkeypatch.setenv(progress.VARIABLE, str(path))
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.0)

    def fitted(todo, taken, _, say):
        progress.report(1, 2, "epoch 1 of 2")
        heard.append(progress.read(path))
        say()
        result = {"score": 0.5, "seconds": 1.0}
        return todo.study.end(taken, TrialState.COMPLETE, result, 0.5)

    monkeypatch.setattr(searching, "run_trial", fitted)
    with progress.shown(), progress.part("search", 0.0, 0.8):
        assert searching.search(todo, 4, 0, SimpleNamespace(write=lambda _: None)) == 4
    assert [report.fraction for report in heard] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert heard[1].stage == "search: trial 2 of 4: epoch 1 of 2"


def test_what_has_ended_is_told_before_the_next_trial_is_fitted(todo, tmp_path, monkeypatch):
    path, heard = tmp_path / "progress", []
    monkeypatch.setenv(progress.VARIABLE, str(path))
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 60.0)

    def fitted(todo, taken, *_):
        heard.append(progress.read(path))
        return todo.study.end(taken, TrialState.COMPLETE, {"score": 0.5, "seconds": 1.0}, 0.5)

    monkeypatch.setattr(searching, "run_trial", fitted)
    told = lambda: progress.tell({"n_ended": len(todo.study.ended())})  # noqa: E731
    with progress.shown():
        searching.search(todo, 3, 0, SimpleNamespace(write=lambda _: None), told)
    found = [(report.facts["n_ended"], report.stage) for report in heard]
    assert found == [(0, "trial 1 of 3"), (1, "trial 2 of 3"), (2, "trial 3 of 3")]
