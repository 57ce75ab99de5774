"""Pairing: one identity, written into the engine database and into MLflow at first use.

A version is half here and half there, so a process that joins the database of one installation with
the MLflow of another does harm: it numbers versions anew, takes every alias for removed, and
finds no files. `Pair.check` compares before anything is read or written.

In MLflow the identity is a tag of an experiment of its own: a backup of MLflow's database holds it,
its name cannot be given twice, and no model or run that people delete takes it along. Here it is
the row of `pairs`. The row is written first and says whether MLflow has been seen to hold the
identity: a process that dies in between is followed by one that goes on.

What has no identity on either side is adopted, if MLflow holds a version that is recorded here, or
none is recorded.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from registry import events
from registry.contract import Json
from registry.database import insert_for, reading
from registry.errors import PairMismatchError
from registry.model_store import ModelStore
from registry.tables import pairs, versions

PAIRED = "paired_with_mlflow"
N_COMPARED = 20
"""Newest recorded versions that are looked for in an MLflow without an identity."""


@dataclass(frozen=True, slots=True)
class _Known:
    identity: str
    is_marked: bool


class Pair:
    """One engine database and one MLflow. Safe for threads and processes."""

    def __init__(self, engine: sa.Engine, store: ModelStore) -> None:
        self._engine, self._store = engine, store
        self._sound = ""
        """The identity that both had at the last look; only `renew` ever changes it."""

    def check(self) -> None:
        """Refuse to go on with an MLflow that is not this database's; pair them at first use.

        Costs one question to MLflow.

        Raises:
            PairMismatchError: they are no pair.
            RegistryUnavailableError: MLflow does not answer.
        """
        mark = self._store.mark()
        if mark and mark == self._sound:
            return
        known = self._find()
        if known is None and mark is None:
            known = self._adopted()
        if known is not None and mark is None and not known.is_marked:
            mark = self._store.set_mark(known.identity)
        if known is None or mark != known.identity:
            raise PairMismatchError(self._store.uri, self._shown(), _said(known, mark))
        if not known.is_marked:
            self._note_marked(known.identity)
        self._sound = known.identity

    def renew(self, *, actor: str, reason: str) -> bool:
        """Give both a new identity, whatever they had; return False where they are a pair already.

        Raises:
            RegistryUnavailableError: MLflow does not answer; asked again it goes on.
        """
        mark, known = self._store.mark(), self._find()
        if known is not None and known.is_marked and known.identity == mark:
            return False
        made = uuid.uuid4().hex
        before = {"here": known.identity if known else None, "in_mlflow": mark}
        values = {"identity": made, "is_marked": False, "paired_at": datetime.now(UTC)}
        with self._engine.begin() as connection:
            connection.execute(sa.delete(pairs))
            connection.execute(sa.insert(pairs).values({"id": 1, **values}))
            self._append(connection, made, actor, reason, {"before": before})
        self._store.set_mark(made, replace=True)
        self.check()
        return True

    def _find(self) -> _Known | None:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(pairs)).one_or_none()
        return None if row is None else _Known(row.identity, row.is_marked)

    def _adopted(self) -> _Known | None:
        """Write an identity here, unless the recorded versions are not in this MLflow."""
        recorded = self._newest()
        if recorded and not any(self._is_in_mlflow(*version) for version in recorded):
            return None
        values = {"id": 1, "identity": uuid.uuid4().hex, "is_marked": False}
        values |= {"paired_at": datetime.now(UTC)}
        with self._engine.begin() as connection:
            added = connection.execute(
                insert_for(connection, pairs)
                .values(values)
                .on_conflict_do_nothing()
                .returning(pairs.c.identity)
            ).scalar_one_or_none()
            if added is not None and recorded:
                reason = "no identity was on either side, and recorded versions are in this MLflow"
                self._append(connection, added, "registry", reason, {})
        return self._find()  # another process may have been first

    def _newest(self) -> list[tuple[str, int, str]]:
        columns = versions.c
        query = sa.select(columns.model_id, columns.number, columns.run_id)
        query = query.order_by(columns.created_at.desc()).limit(N_COMPARED)
        with reading(self._engine) as connection:
            return [(row.model_id, row.number, row.run_id) for row in connection.execute(query)]

    def _is_in_mlflow(self, model_id: str, number: int, run_id: str) -> bool:
        return self._store.find_run(model_id, number) == run_id

    def _note_marked(self, identity: str) -> None:
        with self._engine.begin() as connection:
            mine = pairs.c.identity == identity
            connection.execute(sa.update(pairs).where(mine).values(is_marked=True))

    def _append(
        self,
        connection: sa.Connection,
        identity: str,
        actor: str,
        reason: str,
        facts: dict[str, Json],
    ) -> None:
        told: dict[str, Json] = {"identity": identity, "mlflow": self._store.shown_uri, **facts}
        events.append(connection, PAIRED, actor=actor, reason=reason, facts=told)

    def _shown(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)


def _said(known: _Known | None, mark: str | None) -> str:
    """Return in words how the two sides differ."""
    if known is None and mark is None:
        return "neither has an identity, and this MLflow has no version that is recorded here"
    if known is None:
        return f"MLflow belongs to another database ({mark}), and this one is new or older"
    if mark is None:
        return f"the database belongs to another MLflow ({known.identity}), and this one is new"
    return f"one is of {known.identity}, the other of {mark}"
