import subprocess
import sys

import pytest

from registry import events
from registry.__main__ import main
from registry.errors import GateRefusedError, ModelNotFoundError

pytestmark = pytest.mark.integration
MODEL = "volatility_forecast"
WHY = ("--actor", "ada", "--reason", "a test")


@pytest.fixture
def installation(registry, register, challenger, failing, settings, monkeypatch):
    """Version 1 serves, 2 may replace it, 3 fails a gate."""
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    register()
    register(challenger)
    register(failing)
    registry.promote(MODEL, 1, actor="ada", reason="first")
    return registry


def test_versions_are_listed_with_their_lock_and_aliases(installation, capsys):
    main(["list"])
    one, two, three = capsys.readouterr().out.splitlines()
    assert one.endswith("serve lock open         production")
    assert two.strip().endswith("serve lock open")
    assert three.strip().endswith("serve lock shut by 1")
    main(["list", MODEL])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_every_gate_of_a_version_is_shown(installation, capsys):
    main(["show", MODEL, "3"])
    shown = capsys.readouterr().out
    record = installation.get(MODEL, 3).record
    assert all(f"{row.gate} " in shown for row in record)
    assert shown.count("\nfailed ") == 1
    assert "serve lock: quality.dm_ewma" in shown


def test_a_version_is_promoted_rolled_back_and_deleted(installation, engine, capsys):
    main(["promote", MODEL, "2", *WHY])
    assert installation.aliases(MODEL)["production"] == 2
    main(["roll-back", MODEL, *WHY])
    assert installation.aliases(MODEL)["production"] == 1
    main(["delete", MODEL, "2", *WHY])
    assert [v.number for v in installation.list_versions(MODEL)] == [1, 3]
    newest = events.read(engine, MODEL)[-1]
    assert (newest.kind, newest.actor, newest.reason) == ("deleted", "ada", "a test")
    capsys.readouterr()
    main(["history", MODEL])
    assert capsys.readouterr().out.splitlines()[-1].endswith("version 2    ada: a test")


def test_the_gates_are_those_of_every_promotion(installation):
    with pytest.raises(GateRefusedError, match="dm_ewma"):
        main(["promote", MODEL, "3", *WHY])
    with pytest.raises(ModelNotFoundError):
        main(["roll-back", "nothing", *WHY])


def test_a_move_without_a_reason_is_refused(installation, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["promote", MODEL, "2"])
    assert ended.value.code == 2
    assert "--reason" in capsys.readouterr().err


def test_a_refusal_is_one_line_and_exit_code_2(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    command = [sys.executable, "-m", "registry", "promote", MODEL, "1", "--reason", "a test"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: MLflow at http://127.0.0.1:9 does not answer")
