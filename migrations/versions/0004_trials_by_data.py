"""Trials by their data instead of by a key, and their returns before costs.

Revision: 0004, after 0003. A trial of a family of which a version was registered takes template,
symbols and span from that version's contract: it counts for whoever tries bars of the same names
and days. What is known of no other trial is its key and its model; both keep it with whoever has
the same. Returns from before were net of the costs of their family, and stay so.
"""

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

from registry.tables import Facts, UtcDateTime

if TYPE_CHECKING:
    from registry.trial_data import TrialData

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Row = Mapping[str, Any]
Contract = Mapping[str, Any]

OLD = sa.MetaData()
OLD_TRIALS = sa.Table(
    "trials",
    OLD,
    sa.Column("family", sa.String(length=64), nullable=False),
    sa.Column("recipe", sa.String(length=64), nullable=False),
    sa.Column("model_id", sa.String(length=200), nullable=False),
    sa.Column("run_id", sa.String(length=32), nullable=False),
    sa.Column("sharpe_per_period", sa.Float()),
    sa.Column("first_seen_at", UtcDateTime(), nullable=False),
)
OLD_RETURNS = sa.Table(
    "trial_returns",
    OLD,
    sa.Column("family", sa.String(length=64), nullable=False),
    sa.Column("recipe", sa.String(length=64), nullable=False),
    sa.Column("n_periods", sa.Integer(), nullable=False),
    sa.Column("dates", sa.LargeBinary(), nullable=False),
    sa.Column("returns", sa.LargeBinary(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
)
NEW_TRIALS = sa.table(
    "trials",
    *(sa.column(name) for name in ("id", "family", "data_sha256", "recipe")),
    *(sa.column(name) for name in ("model_id", "run_id", "sharpe_per_period")),
    sa.column("first_seen_at", UtcDateTime()),
)
NEW_RETURNS = sa.table(
    "trial_returns",
    *(sa.column(name) for name in ("trial", "n_periods", "dates", "returns")),
    sa.column("updated_at", UtcDateTime()),
)
VERSIONS = sa.Table("versions", OLD, sa.Column("run_id"), sa.Column("contract", Facts))


def upgrade() -> None:
    connection = op.get_bind()
    trials = list(connection.execute(sa.select(OLD_TRIALS)).mappings())
    returns = list(connection.execute(sa.select(OLD_RETURNS)).mappings())
    contracts = _contracts(connection, trials) if trials else {}
    op.drop_table("trial_returns")
    op.drop_table("trials")
    new_data, new_trials, new_returns = _create_tables()
    known = {family: _known(family, contract) for family, contract in contracts.items()}
    data = {found.sha256: found for found, _ in known.values() if found is not None}
    _insert(new_data, _samples(data.values()) if data else [])
    _insert(new_trials, [_trial(row, *known.get(row["family"], (None, ""))) for row in trials])
    _insert(new_returns, [_returns(row) for row in returns])


def _create_tables() -> tuple[sa.Table, sa.Table, sa.Table]:
    data = op.create_table(
        "trial_data",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("names", Facts, nullable=False),
        sa.Column("interval", sa.String(length=10), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("symbols", Facts, nullable=False),
        sa.Column("digests", Facts, nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_trial_data"),
    )
    trials = op.create_table(
        "trials",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("question", sa.String(length=200), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=64)),
        sa.Column("data_sha256", sa.String(length=64)),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("first_test", sa.BigInteger()),
        sa.Column("sharpe_per_period", sa.Float()),
        sa.Column("trading_share", sa.Float()),
        sa.Column("first_seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.ForeignKeyConstraint(
            ["data_sha256"], ["trial_data.sha256"], name="fk_trials_trial_data"
        ),
    )
    op.create_index("ix_trials_question", "trials", ["question"])
    returns = op.create_table(
        "trial_returns",
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("n_periods", sa.Integer(), nullable=False),
        sa.Column("dates", sa.LargeBinary(), nullable=False),
        sa.Column("returns", sa.LargeBinary(), nullable=False),
        sa.Column("amount_names", Facts, nullable=False),
        sa.Column("amounts", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("trial", name="pk_trial_returns"),
        sa.ForeignKeyConstraint(["trial"], ["trials.id"], name="fk_trial_returns_trials"),
    )
    return data, trials, returns


def _samples(data: Iterable["TrialData"]) -> list[dict[str, Any]]:
    from registry.trial_data import to_columns  # numpy, which a new database does not need

    return [to_columns(found) for found in data]


def _insert(table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        op.bulk_insert(table, rows)


def _contracts(connection: sa.Connection, trials: Sequence[Row]) -> dict[str, Contract]:
    """Return family -> the contract of a version that belongs to it."""
    of_run = {row["run_id"]: row["family"] for row in trials}
    found: dict[str, Contract] = {}
    for run_id, contract in connection.execute(sa.select(VERSIONS)):
        found[_family(contract)] = contract
        if run_id in of_run:
            found[of_run[run_id]] = contract
    return {row["family"]: found[row["family"]] for row in trials if row["family"] in found}


def _family(contract: Contract) -> str:
    """Return the family as revision 0003 named it."""
    from registry.trials import family_key

    label = contract["label_spec"]
    beside = {"fitted", "decision", *label.get("fitted", ()), *label.get("decision", ())}
    declared = {name: value for name, value in label.items() if name not in beside}
    return family_key(contract["template"], declared, contract["cost_spec"], contract["symbols"])


def _known(family: str, contract: Contract) -> tuple["TrialData | None", str]:
    """Return the data of a family, None where they are not bars, and its question."""
    return _data(family, contract), _question(contract["template"])


def _question(template: str) -> str:
    return "returns" if template == "trading_signals" else template


def _data(family: str, contract: Contract) -> "TrialData | None":
    from registry.trial_data import untold

    if not contract.get("interval") or not contract["symbols"]:
        return None
    span = contract["data"]
    first, last = (_microseconds(span[name]) for name in ("start", "end"))
    return untold(family, sorted(contract["symbols"]), contract["interval"], first, last)


def _microseconds(text: str) -> int:
    time = datetime.fromisoformat(text)
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1e6)


def _id(row: Row) -> str:
    """Return an id that no new trial has: family and recipe were the key."""
    return hashlib.sha256(f"{row['family']} {row['recipe']}".encode()).hexdigest()


def _trial(row: Row, data: "TrialData | None", question: str) -> dict[str, Any]:
    return {
        **dict(row),
        "id": _id(row),
        "question": question,
        "data_sha256": None if data is None else data.sha256,
        "first_test": None,
        "trading_share": None,
    }


def _returns(row: Row) -> dict[str, Any]:
    kept = ("n_periods", "dates", "returns", "updated_at")
    nothing = {"amount_names": [], "amounts": zlib.compress(b"")}
    return {name: row[name] for name in kept} | nothing | {"trial": _id(row)}


def downgrade() -> None:
    """Go back to keys; trials that never had one get the digest of their data as family."""
    connection = op.get_bind()
    trials = list(connection.execute(sa.select(NEW_TRIALS)).mappings())
    kept_returns = connection.execute(sa.select(NEW_RETURNS)).mappings()
    returns = {row["trial"]: row for row in kept_returns}
    for name in ("trial_returns", "trials", "trial_data"):
        op.drop_table(name)
    keys = {row["id"]: (row["family"] or row["data_sha256"], row["recipe"]) for row in trials}
    _create_old_tables()
    kept = {key: trial for trial, key in keys.items()}  # of one key, one trial
    by_id = {row["id"]: row for row in trials}
    _insert(OLD_TRIALS, [_old_trial(by_id[kept[key]], key) for key in kept])
    _insert(OLD_RETURNS, [_old_returns(returns[kept[k]], k) for k in kept if kept[k] in returns])


def _create_old_tables() -> None:
    op.create_table(
        "trials",
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("sharpe_per_period", sa.Float()),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("family", "recipe", name="pk_trials"),
    )
    op.create_table(
        "trial_returns",
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("n_periods", sa.Integer(), nullable=False),
        sa.Column("dates", sa.LargeBinary(), nullable=False),
        sa.Column("returns", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("family", "recipe", name="pk_trial_returns"),
        sa.ForeignKeyConstraint(
            ["family", "recipe"], ["trials.family", "trials.recipe"], name="fk_trial_returns_trials"
        ),
    )


def _old_trial(row: Row, key: tuple[str, str]) -> dict[str, Any]:
    names = ("model_id", "run_id", "sharpe_per_period", "first_seen_at")
    return {name: row[name] for name in names} | {"family": key[0], "recipe": key[1]}


def _old_returns(row: Row, key: tuple[str, str]) -> dict[str, Any]:
    names = ("n_periods", "dates", "returns", "updated_at")
    return {name: row[name] for name in names} | {"family": key[0], "recipe": key[1]}
