"""API keys, and `python -m serving.keys COMMAND --help` to make, list and revoke them.

    python -m serving.keys make --scope predict --scope read --label "order router"
    python -m serving.keys make --scope manage --file var/key
    python -m serving.keys list
    python -m serving.keys revoke 3f1c0a9b2d4e --reason "left the team"

A key is `ID.SECRET`; the secret has 256 random bits and is shown once. The database that
DATABASE_URL names keeps the secret's SHA-256 alone. Every process hears of a new or a revoked key
within 4 s. Scopes do not include one another: a key that manages models and looks at them has both
`manage` and `read`.
"""

import argparse
import getpass
import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from registry import events, tables
from registry.command_line import run
from registry.database import insert_for, opened_engine, reading
from registry.errors import KeyNotFoundError, ParameterError
from registry.settings import PlatformSettings, read_settings
from serving.route_table import Scope

SCOPES = tuple(scope for scope in Scope if scope is not Scope.OPEN)
ID_BYTES, SECRET_BYTES = 6, 32
SECRET_CHARS = 43
"""Fewest letters that hold 256 bits (six bits each)."""
_KEYS = tables.api_keys


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the database knows it.

    `model_ids` None allows every model; `requests_per_minute` None sets no limit; `revoked_at` is
    None while it is valid.
    """

    id: str
    label: str
    secret_sha256: str
    scopes: frozenset[str]
    model_ids: frozenset[str] | None
    requests_per_minute: int | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rights:
    """What a new key allows.

    Raises:
        ParameterError: no scope, one that does not exist, or a limit below 1.
    """

    scopes: tuple[str, ...]
    model_ids: tuple[str, ...] | None = None
    requests_per_minute: int | None = None

    def __post_init__(self) -> None:
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes:
            wanted = unknown[0] if unknown else ""
            raise ParameterError("scopes", wanted, f"some of {', '.join(SCOPES)}")
        if self.model_ids is not None and not self.model_ids:
            raise ParameterError("model_ids", [], "at least one model; leave it away for every one")
        if self.requests_per_minute is not None and self.requests_per_minute < 1:
            raise ParameterError("requests_per_minute", self.requests_per_minute, "1 or more")


ALL_RIGHTS = Rights(SCOPES)


def make_key(engine: sa.Engine, rights: Rights, *, label: str = "", actor: str) -> tuple[Key, str]:
    """Make a key; return it and its text `ID.SECRET`, which cannot be read again."""
    key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    with engine.begin() as connection:
        _insert(connection, key_id, secret, rights, label, actor)
    return find_key(engine, key_id), f"{key_id}.{secret}"


def key_in(
    engine: sa.Engine, path: Path, rights: Rights, *, label: str = "", actor: str
) -> tuple[Key, str]:
    """Return the key that a file holds, and its text; write the file where there is none.

    A key that the database does not know is registered with `rights`; a known one keeps its own.

    Raises:
        ParameterError: the file cannot be read, or does not hold `ID.SECRET` of 256 bits.
    """
    if not path.exists():
        write_secret(path, f"{secrets.token_hex(ID_BYTES)}.{secrets.token_urlsafe(SECRET_BYTES)}")
    key_id, secret = _read_secret(path)
    with engine.begin() as connection:
        _insert(connection, key_id, secret, rights, label, actor)
    return find_key(engine, key_id), f"{key_id}.{secret}"


def take_first_key(engine: sa.Engine, path: Path) -> Key:
    """Register the key that a secret file holds, with every right; a known one is left as it is.

    Raises:
        ParameterError: the file cannot be read, or does not hold `ID.SECRET` of 256 bits.
    """
    _read_secret(path)  # which must be there: a server writes no secret of its own
    key, _ = key_in(engine, path, ALL_RIGHTS, label=f"from {path.name}", actor="serving")
    return key


def list_keys(engine: sa.Engine) -> list[Key]:
    """Return every key that was made, oldest first, revoked ones included."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(_KEYS).order_by(_KEYS.c.created_at, _KEYS.c.id))
        return [_key(row) for row in rows.mappings()]


def find_key(engine: sa.Engine, key_id: str) -> Key:
    """Return one key.

    Raises:
        KeyNotFoundError: none has this id.
    """
    with reading(engine) as connection:
        query = sa.select(_KEYS).where(_KEYS.c.id == key_id)
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise KeyNotFoundError(key_id)
    return _key(row)


def revoke_key(engine: sa.Engine, key_id: str, *, actor: str, reason: str) -> Key:
    """Revoke a key for good; one that is revoked already is returned as it is.

    Raises:
        KeyNotFoundError: none has this id.
    """
    with engine.begin() as connection:
        valid = (_KEYS.c.id == key_id) & _KEYS.c.revoked_at.is_(None)
        revoked = sa.update(_KEYS).where(valid).values(revoked_at=datetime.now(UTC))
        if connection.execute(revoked).rowcount:
            facts = {"key": key_id}
            events.append(connection, "key_revoked", actor=actor, reason=reason, facts=facts)
    return find_key(engine, key_id)


def sha256_of(secret: str) -> str:
    """Return what the database keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read.

    Raises:
        FileExistsError: there is one already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")


def _read_secret(path: Path) -> tuple[str, str]:
    """Return id and secret of a key file."""
    wanted = "a readable file with one line ID.SECRET, the secret at least 43 letters long"
    try:
        key_id, dot, secret = path.read_text().strip().partition(".")
    except (OSError, UnicodeDecodeError) as exc:
        raise ParameterError("key file", str(path), wanted) from exc
    is_plain = key_id.isascii() and key_id.isalnum() and len(key_id) <= 16
    if not dot or not is_plain or len(secret) < SECRET_CHARS or not secret.isprintable():
        raise ParameterError("key file", str(path), wanted)
    return key_id, secret


def _insert(
    connection: sa.Connection, key_id: str, secret: str, rights: Rights, label: str, actor: str
) -> None:
    model_ids = None if rights.model_ids is None else list(rights.model_ids)
    values = {
        "id": key_id,
        "label": label,
        "secret_sha256": sha256_of(secret),
        "scopes": list(rights.scopes),
        "model_ids": sa.null() if model_ids is None else model_ids,
        "requests_per_minute": rights.requests_per_minute,
        "created_at": datetime.now(UTC),
    }
    insert = insert_for(connection, _KEYS).values(values).on_conflict_do_nothing()
    if connection.execute(insert).rowcount:
        facts = {"key": key_id, "scopes": list(rights.scopes), "model_ids": model_ids}
        reason = label or "no label"
        events.append(connection, "key_made", actor=actor, reason=reason, facts=facts)


def _key(row: sa.RowMapping) -> Key:
    facts = dict(row)
    models = facts["model_ids"]
    facts["scopes"] = frozenset(facts["scopes"])
    facts["model_ids"] = None if models is None else frozenset(models)
    return Key(**facts)


# The command line ---------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command with the settings of the environment."""
    wanted = _parser().parse_args(argv)
    with opened_engine(read_settings(PlatformSettings)) as engine:
        if wanted.command == "make":
            _make(engine, wanted)
        elif wanted.command == "list":
            _print(list_keys(engine))
        else:
            revoke_key(engine, wanted.id, actor=wanted.actor, reason=wanted.reason)
            print(f"key {wanted.id} is revoked; every process refuses it within 4 s")


def _make(engine: sa.Engine, wanted: argparse.Namespace) -> None:
    rights = Rights(
        tuple(dict.fromkeys(wanted.scope or SCOPES)),
        tuple(wanted.model) if wanted.model else None,
        wanted.requests_per_minute,
    )
    said = {"label": wanted.label, "actor": wanted.actor}
    if not wanted.file:
        print(make_key(engine, rights, **said)[1])
        return
    key, _ = key_in(engine, wanted.file, rights, **said)
    state = "" if key.revoked_at is None else ", but is revoked: remove the file for a new one"
    print(f"key {key.id} ({', '.join(sorted(key.scopes))}) is in {wanted.file}{state}")


def _print(keys: Iterable[Key]) -> None:
    for key in keys:
        state = "valid" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
        models = "every model" if key.model_ids is None else ", ".join(sorted(key.model_ids))
        limit = f", {key.requests_per_minute}/min" if key.requests_per_minute else ""
        scopes = ", ".join(sorted(key.scopes))
        print(f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {state:24}  {scopes} on {models}{limit}")
        if key.label:
            print(f"{'':14}{key.label}")


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("python -m serving.keys", description=summary)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("make", help="make a key and print it, this once")
    make.add_argument(
        "--scope", action="append", choices=SCOPES, help="may stand several times; default: all"
    )
    make.add_argument(
        "--model", action="append", help="allow this model only; may stand several times"
    )
    make.add_argument("--requests-per-minute", type=int, help="limit of each serving process")
    make.add_argument("--label", default="", help="what the key is for")
    make.add_argument(
        "--file", type=Path, help="write the key here, or register the one that is here already"
    )
    commands.add_parser("list", help="list every key, without secrets")
    revoke = commands.add_parser("revoke", help="revoke a key for good")
    revoke.add_argument("id", help="the part before the dot")
    revoke.add_argument("--reason", required=True, help="why, for the event log")
    for command in (make, revoke):
        command.add_argument("--actor", default=getpass.getuser(), help="who (%(default)s)")
    return parser


if __name__ == "__main__":
    run(main)
