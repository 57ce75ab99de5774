import re
import stat
import subprocess
import sys

import pytest
import sqlalchemy as sa

from registry import events, tables
from registry.errors import KeyNotFoundError, ParameterError
from serving.keys import (
    ALL_RIGHTS,
    Rights,
    find_key,
    list_keys,
    main,
    make_key,
    revoke_key,
    sha256_of,
    take_first_key,
)
from serving.security import KeyRing


@pytest.fixture
def command(engine, settings, monkeypatch, capsys):
    """Run `python -m serving.keys` in this process against the test's database."""
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))

    def run(*arguments):
        main(arguments)
        return capsys.readouterr().out

    return run


def everything_stored(engine) -> str:
    with engine.connect() as connection:
        rows = [
            connection.execute(sa.select(table)).all() for table in (tables.api_keys, tables.events)
        ]
    return repr(rows)


def test_the_secret_has_256_bits_and_is_nowhere_in_the_database(engine):
    key, text = make_key(engine, ALL_RIGHTS, label="mine", actor="me")
    key_id, _, secret = text.partition(".")
    assert key_id == key.id
    assert len(secret) == 43  # 43 letters of six bits each
    assert key.secret_sha256 == sha256_of(secret)
    assert secret not in everything_stored(engine)


def test_making_and_revoking_are_events(engine):
    key, _ = make_key(engine, Rights(("read",), ("m",), 5), label="desk", actor="ada")
    revoke_key(engine, key.id, actor="bob", reason="left")
    made, revoked = events.read(engine)
    assert (made.kind, made.actor, made.reason) == ("key_made", "ada", "desk")
    assert made.facts == {"key": key.id, "scopes": ["read"], "model_ids": ["m"]}
    assert (revoked.kind, revoked.actor, revoked.reason) == ("key_revoked", "bob", "left")


def test_a_revoked_key_stays_revoked_with_the_time_of_the_first_revocation(engine):
    key, _ = make_key(engine, ALL_RIGHTS, actor="me")
    first = revoke_key(engine, key.id, actor="me", reason="x")
    again = revoke_key(engine, key.id, actor="me", reason="y")
    assert first.revoked_at == again.revoked_at
    assert [event.kind for event in events.read(engine)] == ["key_made", "key_revoked"]


@pytest.mark.parametrize(
    ("scopes", "model_ids", "limit"),
    [
        ((), None, None),
        (("open",), None, None),
        (("read", "all"), None, None),
        (("read",), (), None),
        (("read",), None, 0),
    ],
)
def test_rights_that_make_no_sense_are_refused(scopes, model_ids, limit):
    with pytest.raises(ParameterError):
        Rights(scopes, model_ids, limit)


def test_an_unknown_key_cannot_be_revoked(engine):
    with pytest.raises(KeyNotFoundError, match="no key 'abc'"):
        revoke_key(engine, "abc", actor="me", reason="x")


def test_the_command_makes_lists_and_revokes(command, engine):
    text = command("make", "--scope", "read", "--scope", "predict", "--label", "router").strip()
    key_id = text.partition(".")[0]
    assert find_key(engine, key_id).scopes == {"read", "predict"}
    listed = command("list")
    assert f"{key_id}  " in listed
    assert "valid" in listed
    assert "router" in listed
    assert text.partition(".")[2] not in listed
    command("revoke", key_id, "--reason", "lost")
    assert re.search(rf"{key_id}  .*revoked \d{{4}}", command("list"))


def test_a_key_file_is_readable_by_its_owner_alone_and_made_once(command, engine, tmp_path):
    path = tmp_path / "secrets" / "key"
    assert str(path) in command("make", "--file", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    command("make", "--file", str(path))
    assert path.read_text() == before
    assert len(list_keys(engine)) == 1


def test_a_key_file_that_outlived_its_database_is_registered_again(
    command, engine, settings, tmp_path
):
    path = tmp_path / "key"
    command("make", "--file", str(path), "--scope", "read")
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.api_keys))
    command("make", "--file", str(path), "--scope", "read")
    text = path.read_text().strip()
    assert KeyRing(engine).find(text).scopes == {"read"}
    revoke_key(engine, text.partition(".")[0], actor="me", reason="x")
    assert "revoked" in command("make", "--file", str(path))


def test_a_first_key_comes_from_a_secret_file_once_and_with_every_right(engine, tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"first.{'s' * 43}\n")
    key = take_first_key(engine, path)
    assert key.scopes == {"predict", "read", "manage", "admin"}
    assert key.secret_sha256 == sha256_of("s" * 43)
    revoke_key(engine, "first", actor="me", reason="changed")
    assert take_first_key(engine, path).revoked_at is not None  # a restart revives nothing
    path.write_text(f"first.{'t' * 43}\n")
    assert take_first_key(engine, path).secret_sha256 == sha256_of("s" * 43)


@pytest.mark.parametrize(
    "content",
    ["", "first", "first.short", *(f"{name}.{'s' * 43}" for name in ("", "a b", "a" * 17))],
)
def test_a_secret_file_without_a_strong_key_is_refused_without_showing_it(
    engine, tmp_path, content
):
    path = tmp_path / "secret"
    path.write_text(content)
    with pytest.raises(ParameterError, match="key file") as refused:
        take_first_key(engine, path)
    assert "sss" not in str(refused.value)
    with pytest.raises(ParameterError):
        take_first_key(engine, tmp_path / "nothing")


@pytest.mark.integration
def test_an_error_of_the_command_is_one_line_and_exit_code_2(settings):
    found = subprocess.run(
        [sys.executable, "-m", "serving.keys", "revoke", "nobody", "--reason", "x"],
        env={"DATA_DIR": str(settings.data_dir), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr == ("error: no key 'nobody'; list them with python -m serving.keys list\n")


def test_keys_are_made_shown_and_revoked_over_http(client, app):
    database = app.state.service.database
    _, admin = make_key(database, Rights(("admin",)), actor="me")
    app.state.service.security.keys.load()
    headers = {"x-api-key": admin}
    body = {"scopes": ["read"], "model_ids": ["a"], "requests_per_minute": 9, "label": "desk"}
    made = client.post("/keys", json=body, headers=headers)
    assert made.status_code == 201
    key = made.json()["key"]
    assert client.get("/models", headers={"x-api-key": key}).status_code == 200
    listed = client.get("/keys", headers=headers).json()["keys"]
    assert listed[1] == {name: made.json()[name] for name in listed[1]}
    assert key.partition(".")[2] not in client.get("/keys", headers=headers).text
    address = f"/keys/{made.json()['id']}/revoke"
    assert client.post(address, json={"reason": "left"}, headers=headers).json()["revoked_at"]
    assert client.get("/models", headers={"x-api-key": key}).status_code == 401
    actors = [(event.kind, event.actor) for event in events.read(database)]
    admin_id = admin.partition(".")[0]
    assert actors[1:] == [("key_made", admin_id), ("key_revoked", admin_id)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["read"], "model_ids": []},
        {"scopes": ["read"], "model_ids": ["../x"]},
        {"scopes": ["read"], "requests_per_minute": 0},
        {"scopes": ["read"], "requests_per_minute": 1.5},
        {"scopes": ["read"], "secret": "mine"},
    ],
)
def test_a_key_that_makes_no_sense_is_422(client, app, body):
    _, admin = make_key(app.state.service.database, Rights(("admin",)), actor="me")
    app.state.service.security.keys.load()
    answer = client.post("/keys", json=body, headers={"x-api-key": admin})
    assert answer.status_code == 422
    assert len(list_keys(app.state.service.database)) == 1
