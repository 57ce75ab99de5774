import sqlalchemy as sa

from registry import events
from serving.keys import Rights, make_key
from serving.posted_bars import TOLD_SECONDS, PostedBars

AAPL, MSFT = frozenset({"AAPL"}), frozenset({"MSFT"})


def told(engine):
    return [
        (e.actor, e.facts["interval"], e.facts["accepted"], e.facts["n_symbols"])
        for e in events.read(engine)
        if e.kind == "bars_posted"
    ]


def settle(posted):
    """Wait for what the thread has been given."""
    posted._thread.submit(lambda: None).result(5)


def test_the_first_bars_are_told_at_once_and_the_next_together_a_minute_later(engine):
    now = [0.0]
    posted = PostedBars(engine, lambda: now[0])
    posted.count("key", "1d", AAPL, 3, 0)
    settle(posted)
    for symbols in (AAPL, MSFT, AAPL):
        posted.count("key", "1d", symbols, 2, 0)
    settle(posted)
    assert told(engine) == [("key", "1d", 3, 1)]
    now[0] = TOLD_SECONDS
    posted.count("key", "1d", AAPL, 1, 0)
    settle(posted)
    assert told(engine)[1:] == [("key", "1d", 7, 2)]
    posted.close()


def test_callers_and_intervals_are_told_of_by_themselves_and_duplicates_not_at_all(engine):
    posted = PostedBars(engine, lambda: 0.0)
    posted.count("a", "1d", AAPL, 1, 0)
    posted.count("b", "1d", AAPL, 0, 1)
    posted.count("a", "1h", AAPL, 1, 0)
    posted.count("c", "1d", AAPL, 0, 0)
    posted.close()
    assert sorted(told(engine)) == [("a", "1d", 1, 1), ("a", "1h", 1, 1), ("b", "1d", 0, 1)]


def test_what_is_not_told_yet_is_told_at_the_end(engine):
    posted = PostedBars(engine, lambda: 0.0)
    for _ in range(3):
        posted.count("a", "1d", AAPL, 1, 0)
        settle(posted)
    posted.close()
    assert sum(accepted for _, _, accepted, _ in told(engine)) == 3


def test_while_the_database_is_away_counts_are_kept(engine, monkeypatch):
    posted, append = PostedBars(engine, lambda: 0.0), events.append

    def away(*_, **__):
        raise sa.exc.OperationalError("INSERT", {}, Exception("locked"))

    monkeypatch.setattr(events, "append", away)
    posted.count("a", "1d", AAPL, 2, 0)
    settle(posted)
    assert told(engine) == []
    monkeypatch.setattr(events, "append", append)
    posted.close()
    assert told(engine) == [("a", "1d", 2, 1)]


def test_bars_posted_over_http_are_an_event_of_their_key(client, post_history, engine):
    post_history("AAPL", n_bars=5)
    settle(client.app.state.service.posted_bars)
    assert told(client.app.state.service.database) == [("local", "1d", 5, 1)]


def test_every_event_is_one_list_which_a_key_of_some_models_does_not_see(client, post_history):
    post_history("AAPL", n_bars=5)
    service = client.app.state.service
    settle(service.posted_bars)
    found = client.get("/events", params={"order": "newest", "limit": 1}).json()
    assert [event["event"] for event in found["events"]] == ["bars_posted"]
    assert found["events"][0]["model_id"] is None
    _, text = make_key(service.database, Rights(("read",), ("m",)), actor="me")
    service.security.keys.load()
    assert client.get("/events", headers={"x-api-key": text}).status_code == 403
