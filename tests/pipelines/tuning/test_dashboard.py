"""The dashboard: it sees what workers write, and writes nothing itself."""

import sys

import optuna
import pytest
from optuna.trial import TrialState

from pipelines.parameters import RecipeParameters
from pipelines.tuning import dashboard
from pipelines.tuning.asked_space import search_space
from pipelines.tuning.studies import KeptStudy, Plan
from registry.errors import MissingPackageError, ParameterError, StudyReadOnlyError


@pytest.fixture
def study(tmp_path):
    study = KeptStudy(tmp_path / "s", "s")
    study.make({"a": 1}, higher_is_better=False)
    return study


def test_a_study_is_shown_as_it_grows_and_is_not_changed(study):
    shown = optuna.load_study(study_name="s", storage=dashboard.storage(study))
    assert shown.user_attrs == {"facts": {"a": 1}} and not shown.trials
    worker = KeptStudy(study.journal._path.parent, "s")
    worker.join()
    space = search_space('{"architectures": ["ridge"]}', RecipeParameters("return_forecast"))
    taken = worker.take(Plan(space, "random", "none", 0, ()), 5)
    worker.end(taken, TrialState.COMPLETE, {"score": 0.5}, 0.5)
    assert [trial.value for trial in shown.trials] == [0.5]
    before = study.journal._path.read_bytes()
    for change in (
        lambda: shown.set_user_attr("note", "mine"),
        lambda: shown.ask(),
        lambda: optuna.delete_study(study_name="s", storage=dashboard.storage(study)),
    ):
        with pytest.raises(StudyReadOnlyError, match="'s' is shown to be looked at"):
            change()
    assert study.journal._path.read_bytes() == before


def test_without_the_package_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'nautilus-ml-engine\[dashboard\]'"):
        dashboard.main(["--study", "s"])


class Served:
    """Stands in for the package, which is an optional extra: notes what it is asked to serve."""

    def __init__(self):
        self.calls = []

    def run_server(self, storage, host, port):
        """Note the study that is served, and where."""
        (name,) = optuna.get_all_study_names(storage)
        self.calls.append((name, host, port))


def test_the_command_serves_the_study_and_refuses_what_is_none(installation, monkeypatch):
    package = Served()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", package)
    with pytest.raises(ParameterError, match="study='none': expected the name of a study that"):
        dashboard.main(["--study", "none"])
    KeptStudy(installation.tuning_dir / "s", "s").make({}, higher_is_better=False)
    dashboard.main(["--study", "s", "--port", "8399"])
    assert package.calls == [("s", "127.0.0.1", 8399)]
