"""Whether MLflow's versions of a model are those that are recorded here.

MLflow numbers versions, and forgets the numbers of a registered model that somebody deletes there:
the next version would be number 1 again, with the record, the acceptances and the history of
another. So the numbers are compared before a model is fitted, and again before it is registered,
and the run behind a number before an alias moves to it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from registry.database import reading
from registry.errors import NumbersRestartError, OtherVersionError, VersionNotFoundError
from registry.model_store import ModelStore, RegisteredModel
from registry.tables import events, versions
from registry.version_rows import Version, numbers

Known = Mapping[int, tuple[str, datetime]]
"""Version number -> the run that made it, and when it was registered."""
N_SHOWN = 3


def check_numbers(engine: sa.Engine, store: ModelStore, model_id: str) -> None:
    """Refuse to make a version of a model whose numbers start again.

    A version that is gone from MLflow alone is fine: its number is never given again.

    Raises:
        NumbersRestartError: the registered model was deleted in MLflow.
        RegistryUnavailableError: MLflow does not answer.
    """
    known = _registered(engine, model_id)
    if known and (found := _restart(known, store.find_model(model_id))):
        raise NumbersRestartError(model_id, found, max(known))


def check_same(engine: sa.Engine, store: ModelStore, version: Version) -> None:
    """Refuse a version that MLflow does not have, or has of another run.

    Raises:
        VersionNotFoundError: it was deleted in MLflow.
        OtherVersionError: MLflow gave its number again.
        RegistryUnavailableError: MLflow does not answer.
    """
    model_id, number = version.model_id, version.number
    run_id = store.find_run(model_id, number)
    if run_id is None:
        wanted = f"version {number} in MLflow any more: it was deleted there"
        others = [str(n) for n in numbers(engine, model_id) if n != number]
        raise VersionNotFoundError(model_id, wanted, others)
    if run_id != version.run_id:
        raise OtherVersionError(model_id, number, version.run_id, run_id)


def lost(recorded: Sequence[Version], held: RegisteredModel | None) -> dict[int, str]:
    """Return number -> what became of it in MLflow, of recorded versions that it has not got."""
    runs = {} if held is None else held.runs
    gone = [v for v in recorded if runs.get(v.number) != v.run_id]
    return {
        v.number: "another version has its number in MLflow"
        if v.number in runs
        else "deleted in MLflow"
        for v in gone
    }


def _registered(engine: sa.Engine, model_id: str) -> Known:
    """Return number -> run and time of every version that was ever registered."""
    past, now = events.c, versions.c
    was = (past.kind == "registered") & (past.model_id == model_id)
    queries = (
        sa.select(past.number, past.run_id, past.at).where(was),
        sa.select(now.number, now.run_id, now.created_at).where(now.model_id == model_id),
    )
    with reading(engine) as connection:
        return {n: (run, at) for query in queries for n, run, at in connection.execute(query)}


def _restart(known: Known, held: RegisteredModel | None) -> str:
    """Return why the next number may be one that was given before; empty where it is not."""
    if held is None:
        return "MLflow has no model of this name any more"
    common = sorted(known.keys() & held.runs.keys())
    foreign = [number for number in common if held.runs[number] != known[number][0]]
    if foreign:
        shown = ", ".join(map(str, foreign[:N_SHOWN]))
        return f"version {shown} there is of another run than the one recorded here"
    if not common and held.created_at > max(at for _, at in known.values()):
        return f"the one there was made on {held.created_at:%F}, after all versions recorded here"
    return ""
