from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from registry import events, tables


def append(engine, kind, **values):
    with engine.begin() as connection:
        return events.append(connection, kind, actor="test", reason="because", **values)


def test_an_event_is_read_back_as_it_was_appended(engine):
    facts = {"alias": "production", "from": None, "to": 3, "share": 0.25}
    added = append(engine, "promoted", model_id="m", number=3, run_id="r", facts=facts)
    (event,) = events.read(engine)
    assert (event.id, event.kind, event.model_id, event.number) == (added, "promoted", "m", 3)
    assert (event.actor, event.reason, event.run_id, event.facts) == ("test", "because", "r", facts)
    assert abs(datetime.now(UTC) - event.at) < timedelta(minutes=1)


def test_read_continues_after_an_id_and_filters_by_model(engine):
    first, _, third = (append(engine, "seen", model_id=m) for m in ("a", "b", "a"))
    assert [e.id for e in events.read(engine, "a")] == [first, third]
    assert [e.id for e in events.read(engine, "a", after_id=first)] == [third]
    assert [e.id for e in events.read(engine, limit=1)] == [first]


def test_an_event_vanishes_with_the_transaction_of_its_change(engine):
    def change_and_fail():
        with engine.begin() as connection:
            events.append(connection, "seen", actor="test", reason="because")
            raise RuntimeError("the change failed")

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert events.read(engine) == []


def refuses_changes(engine):
    append(engine, "seen")
    for change in (sa.update(tables.events).values(actor="x"), sa.delete(tables.events)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(change)
    assert [e.actor for e in events.read(engine)] == ["test"]


def test_the_database_refuses_to_change_or_delete_an_event(engine):
    refuses_changes(engine)


@pytest.mark.postgres
def test_postgresql_refuses_to_change_or_delete_an_event(postgres_engine):
    refuses_changes(postgres_engine)
