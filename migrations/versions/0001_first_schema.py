"""The first schema: versions, aliases, deployments, events, trials, jobs, drift, retraining.

Revision: 0001. The event log is append-only: triggers refuse UPDATE and DELETE on it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
FACTS = sa.JSON().with_variant(JSONB(), "postgresql")
OPEN_DEPLOYMENT = sa.text("ended_at IS NULL")
OPEN_CYCLE = sa.text("closed_at IS NULL")
TABLES = (
    "aliases",
    "deployments",
    "drift_reports",
    "events",
    "jobs",
    "retraining_cycles",
    "schedules",
    "trials",
    "versions",
)


def upgrade() -> None:
    create_tables()
    protect_events()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_events()")


def protect_events() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_refuse_{change.lower()} BEFORE {change} ON events "
                "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON events "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change_of_events()"
    )


def create_tables() -> None:
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("alias", sa.String(length=50), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("pending", sa.Integer()),
        sa.Column("seen", sa.Integer()),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("moved_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "alias", name="pk_aliases"),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("champion", sa.Integer(), nullable=False),
        sa.Column("challenger", sa.Integer()),
        sa.Column("strategy", sa.String(length=20), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=20)),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
    )
    op.create_index(
        "uq_deployments_open",
        "deployments",
        ["model_id"],
        unique=True,
        sqlite_where=OPEN_DEPLOYMENT,
        postgresql_where=OPEN_DEPLOYMENT,
    )
    op.create_table(
        "drift_reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("window_start", TIME, nullable=False),
        sa.Column("window_end", TIME, nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("drifted_share", sa.Float()),
        sa.Column("columns", FACTS, nullable=False),
        sa.Column("quality", FACTS, nullable=False),
        sa.Column("performance", FACTS, nullable=False),
        sa.Column("run_id", sa.String(length=32)),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_reports"),
        sa.UniqueConstraint(
            "model_id",
            "number",
            "window_start",
            "window_end",
            name="uq_drift_reports_model_id_number_window_start_window_end",
        ),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("model_id", sa.String(length=200)),
        sa.Column("number", sa.Integer()),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=32)),
        sa.Column("facts", FACTS, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_model_id_id", "events", ["model_id", "id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=200)),
        sa.Column("payload", FACTS, nullable=False),
        sa.Column("idempotency_key", sa.String(length=64)),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("owner", sa.String(length=100)),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", TIME),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("result", FACTS),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    )
    op.create_index("ix_jobs_state_due_at", "jobs", ["state", "due_at"], unique=False)
    op.create_table(
        "retraining_cycles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("champion", sa.Integer(), nullable=False),
        sa.Column("challenger", sa.Integer()),
        sa.Column("trigger", sa.String(length=40), nullable=False),
        sa.Column("as_of", TIME, nullable=False),
        sa.Column("job_id", sa.String(length=32)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", FACTS, nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("cooldown_until", TIME),
        sa.Column("closed_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_retraining_cycles"),
    )
    op.create_index(
        "uq_retraining_cycles_open",
        "retraining_cycles",
        ["model_id"],
        unique=True,
        sqlite_where=OPEN_CYCLE,
        postgresql_where=OPEN_CYCLE,
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("interval_seconds", sa.Float(), nullable=False),
        sa.Column("next_due_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_schedules"),
    )
    op.create_table(
        "trials",
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("sharpe_per_period", sa.Float()),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("family", "recipe", name="pk_trials"),
    )
    op.create_table(
        "versions",
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("contract", FACTS, nullable=False),
        sa.Column("digests", FACTS, nullable=False),
        sa.Column("record", FACTS, nullable=False),
        sa.Column("may_trade", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "number", name="pk_versions"),
    )
