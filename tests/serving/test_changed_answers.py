"""A version whose answers this code changes: it serves on, says so, and no alias moves to it."""

import time

import numpy as np
import pytest

from registry import events
from registry.__main__ import main
from registry.errors import GateRefusedError, NothingToAcceptError
from serving.loading import load
from tests.examples import passing_record
from tests.golden_files import add_golden_answers
from tests.serving.conftest import write_version
from tests.waiting import wait_for

MODEL = "volatility_forecast"
FORECAST = "pipelines.templates.volatility_forecast._growth"
WHY = ("--actor", "ada", "--reason", "the old bound was wrong")
NOTHING = {"ewma_variance": np.full(16, 1e-4), "close": np.full(16, 100.0)}

pytestmark = pytest.mark.integration


@pytest.fixture
def register(installation):
    """Register a version with golden answers, and return its number."""

    def make(seed=1, *, is_first=False):
        directory = installation.folder / f"made-{time.time_ns()}"
        contract = write_version(directory, seed)
        add_golden_answers(directory, NOTHING)
        record = passing_record(None if is_first else "better")
        made = installation.registry.register(directory, contract, record, installation.run_id)
        return made.number

    return make


@pytest.fixture
def change_code(monkeypatch):
    """Let the template of all versions forecast a variance that is larger by a factor."""
    from pipelines.templates import volatility_forecast

    original = volatility_forecast._growth

    def change(factor=1.5):
        monkeypatch.setattr(FORECAST, lambda scores: original(scores) * factor)

    return change


@pytest.fixture
def anew(installation):
    """Return the registry of a process that starts with the code as it is now."""
    from registry.versions import Registry

    return lambda: Registry(installation.platform, installation.engine)


def test_a_version_in_production_serves_on_and_health_shows_old_and_new(
    installation, running, register, change_code, monkeypatch
):
    register(is_first=True)
    installation.promote(1)
    change_code()
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: client.get("/health").json()["loaded"] == {MODEL: 1})
        health = client.get("/health").json()
        assert (health["status"], health["healthy"], health["ready"]) == ("degraded", False, True)
        found = health["changed_answers"][MODEL]
        assert (found["version"], health["problems"]) == (1, {})
        assert 0 < found["n_changed"] <= found["n_answers"]
        first = found["examples"][0]
        assert first["field"] == "forecast_variance"
        assert first["new"] == pytest.approx(1.5 * first["old"])
        assert found["accept"] == f"python -m registry accept-answers {MODEL} 1 --reason ..."
        facts = client.get(f"/models/{MODEL}").json()
        assert facts["loaded"][0]["answers"].startswith("this code changes ")

        monkeypatch.setenv("DATA_DIR", str(installation.platform.data_dir))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # it is not needed
        main(["accept-answers", MODEL, "1", *WHY])
        wait_for(lambda: client.get("/health").json()["changed_answers"] == {})
        assert client.get("/health").json()["status"] == "ok"
    newest = events.read(installation.engine, MODEL)[-1]
    assert (newest.kind, newest.number, newest.actor) == ("answers_accepted", 1, "ada")
    assert newest.facts["changes"][0]["field"] == "forecast_variance"


def test_no_alias_moves_to_a_version_that_answers_otherwise(
    installation, register, change_code, anew
):
    register(is_first=True)
    register(seed=2)
    installation.promote(1)
    installation.promote(2)
    register(seed=3)
    change_code()
    registry = anew()
    moves = {
        "promote": lambda: registry.promote(MODEL, 3, actor="ada", reason="better"),
        "roll back": lambda: registry.roll_back(MODEL, actor="ada", reason="errors"),
        "stage": lambda: registry.set_alias_staging(MODEL, 3),
    }
    for move in moves.values():
        with pytest.raises(GateRefusedError, match="golden_answers: this code changes"):
            move()
    installation.mlflow.set_registered_model_alias(MODEL, "production", "1")
    state = registry.resolve_alias(MODEL)
    assert (state.number, state.outside) == (2, 1)
    assert state.refusals[0].startswith("golden_answers: this code changes")
    assert registry.promote(MODEL, 2, actor="ada", reason="it serves").number == 2
    assert installation.registry.aliases(MODEL)["production"] == 2


def test_accepted_answers_open_the_lock_until_the_code_changes_again(
    installation, register, change_code, anew
):
    register(is_first=True)
    change_code(1.5)
    registry = anew()
    assert registry.accept_answers(MODEL, 1, actor="ada", reason="right")
    assert registry.promote(MODEL, 1, actor="ada", reason="first").number == 1
    with pytest.raises(NothingToAcceptError, match="this code changes none"):
        registry.accept_answers(MODEL, 1, actor="ada", reason="again")
    registry.withdraw(MODEL, actor="ada", reason="to move again")
    change_code(2.0)
    with pytest.raises(GateRefusedError, match="golden_answers") as refused:
        anew().promote(MODEL, 1, actor="ada", reason="changed again")
    assert "accept-answers volatility_forecast 1" in str(refused.value)
    change_code(1.0)
    assert anew().promote(MODEL, 1, actor="ada", reason="as registered").number == 1


def test_a_version_without_golden_answers_loads_and_moves_with_a_note(
    installation, running, change_code
):
    installation.register(is_first=True)
    change_code()
    installation.promote(1)
    app = installation.app()
    with running(app) as client:
        wait_for(lambda: client.get("/health").json()["loaded"] == {MODEL: 1})
        assert client.get("/health").json()["status"] == "ok"
        told = client.get(f"/models/{MODEL}").json()["loaded"][0]["answers"]
        assert told == (
            "registered without golden answers: whether this code changes them is not known"
        )
    with pytest.raises(NothingToAcceptError, match="without golden answers"):
        installation.registry.accept_answers(MODEL, 1, actor="ada", reason="none")


def test_loading_with_golden_answers_takes_little_longer(tmp_path, make):
    write_version(tmp_path)
    files = add_golden_answers(tmp_path, NOTHING)
    started = time.perf_counter()
    *_, version = load(files, MODEL, 1, is_measured=False)
    assert time.perf_counter() - started < 1.0
    assert version.golden.changes == ()
