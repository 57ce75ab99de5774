"""What is too good to be true serves only after a person has accepted it, for one version."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from registry import events, validations, version_rows
from registry.__main__ import main
from registry.acceptances import KIND
from registry.artifacts import ArtifactCache
from registry.errors import NothingImplausibleError, ParameterError, VersionNotFoundError
from registry.gates import TRADING_SIGNALS, GateRow
from registry.validations import Validation
from registry.version_rows import Version
from registry.versions import Registry
from tests.examples import make_contract, parity_rows, passing_record

MODEL = "trading_signals"
AT = datetime(2026, 5, 1, tzinfo=UTC)
DIGESTS = {"native/model.ubj": "a", "onnx/model.onnx": "b"}
PERFECT = GateRow("plausibility.sharpe", 29.0, "<=", 4.0, "lower bound of the Sharpe ratio")
WHY = "opens and closes come from two feeds, compared with a third"
PASSING = {"<": -9.0, "<=": 0.0, ">": 9.0, ">=": 9.0, "is": 1.0}


def record(*changed):
    """A record that opens both locks, but for the rows that are changed."""
    names = {row.gate for row in changed}
    common = [r for r in passing_record() if not r.gate.startswith(("quality", "plaus", "parity"))]
    own = {
        need.gate: GateRow(need.gate, PASSING[need.comparison or "<"], need.comparison or "<", 0.01)
        if need.comparison is None
        else need.row(PASSING[need.comparison])
        for need in (*TRADING_SIGNALS.serve, *TRADING_SIGNALS.trade)
    }
    rows = (*common, *parity_rows(), *own.values())
    return tuple(row for row in rows if row.gate not in names) + changed


def kept(engine, number, *changed):
    contract = make_contract(model_id=MODEL, template=MODEL)
    version = Version(MODEL, number, "r", contract, DIGESTS, record(*changed), False, AT)
    version_rows.record(engine, version)
    return version


@pytest.fixture
def registry(settings, engine):
    kept(engine, 1, PERFECT)
    kept(engine, 2, PERFECT)
    kept(engine, 3)
    return Registry(settings, engine)


def test_a_named_person_opens_both_locks_of_one_version(registry, engine):
    before = registry.get(MODEL, 1)
    line = "plausibility.sharpe: 29, needs <= 4 (lower bound of the Sharpe ratio)"
    assert before.refusals("serve") == before.refusals("trade") == (line,)
    assert registry.accept_implausible(MODEL, 1, actor="Ada Lovelace", reason=WHY) == (PERFECT,)
    after = registry.get(MODEL, 1)
    assert after.refusals("serve") == after.refusals("trade") == ()
    assert (after.record, before.may_trade, after.may_trade) == (before.record, False, True)
    assert registry.get(MODEL, 2).refusals("serve") == (line,)  # another version, another look
    event = events.read(engine, MODEL)[-1]
    assert (event.kind, event.number, event.actor, event.reason) == (KIND, 1, "Ada Lovelace", WHY)
    assert event.facts["gates"] == [PERFECT.to_json()]


def test_what_loads_a_version_reads_the_acceptance_beside_the_record(registry, engine, settings):
    folder = settings.cache_dir / MODEL
    cache = ArtifactCache(settings, engine)
    sound = "registry.artifacts._is_sound"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound, lambda _: True)
        assert cache.fetch(MODEL, 1).accepted == ()
        registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY)
        assert cache.fetch(MODEL, 1).accepted == ("plausibility.sharpe",)
        assert cache.fetch(MODEL, 2).accepted == ()
    assert not folder.exists()


@pytest.mark.parametrize("actor", ["", " ", "main", "Retraining", "root", "serving "])
def test_a_process_is_no_person(registry, engine, actor):
    with pytest.raises(ParameterError, match="name of the person"):
        registry.accept_implausible(MODEL, 1, actor=actor, reason=WHY)
    with pytest.raises(ParameterError, match="reason"):
        registry.accept_implausible(MODEL, 1, actor="Ada", reason=" ")
    assert KIND not in [event.kind for event in events.read(engine, MODEL)]


def test_only_what_refuses_can_be_accepted_and_only_once(registry):
    with pytest.raises(NothingImplausibleError, match="trading_signals version 3"):
        registry.accept_implausible(MODEL, 3, actor="Ada", reason=WHY)
    with pytest.raises(VersionNotFoundError):
        registry.accept_implausible(MODEL, 9, actor="Ada", reason=WHY)
    registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY)
    with pytest.raises(NothingImplausibleError):
        registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY)


def test_a_gate_that_refuses_later_needs_a_person_again(registry, engine):
    registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY)
    shifted = GateRow("plausibility.opens", 0.2, ">=", 0.6)
    later = Validation(MODEL, 1, "run", None, "e" * 64, AT, (PERFECT, shifted), AT)
    validations.keep(engine, later, ())
    (line,) = registry.get(MODEL, 1).refusals("serve")
    assert line == "validated 2026-05-01: plausibility.opens: 0.2, needs >= 0.6"
    assert registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY) == (shifted,)
    assert registry.get(MODEL, 1).refusals("serve") == ()


def test_the_event_cannot_be_changed_afterwards(registry, engine):
    registry.accept_implausible(MODEL, 1, actor="Ada", reason=WHY)
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        connection.execute(sa.text("UPDATE events SET actor = 'Bob'"))


def test_an_acceptance_opens_no_other_gate(registry, engine):
    refused = GateRow("edge.dsr", 0.4, ">=", 0.95)
    kept(engine, 4, PERFECT, refused)
    registry.accept_implausible(MODEL, 4, actor="Ada", reason=WHY)
    after = registry.get(MODEL, 4)
    assert (after.refusals("serve"), after.may_trade) == ((), False)
    assert after.refusals("trade") == ("edge.dsr: 0.4, needs >= 0.95",)


def test_the_command_needs_a_person_and_a_reason(registry, settings, monkeypatch, capsys):
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    with pytest.raises(SystemExit):
        main(["accept-implausible", MODEL, "1", "--reason", WHY])
    assert "--person" in capsys.readouterr().err
    main(["accept-implausible", MODEL, "1", "--person", "Ada", "--reason", WHY])
    assert capsys.readouterr().out.startswith("accepted by Ada: plausibility.sharpe: 29")
    main(["show", MODEL, "1"])
    assert f"accepted by Ada: plausibility.sharpe ({WHY})" in capsys.readouterr().out


def test_a_version_without_the_gates_of_today_has_nothing_to_accept(registry, engine):
    old = replace(kept(engine, 5), record=tuple(passing_record()))
    assert old.implausible() == ()
