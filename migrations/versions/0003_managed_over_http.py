"""Keys, models that people manage, uploaded data, reported outcomes, and jobs that tell progress.

Revision: 0003, after 0002. Jobs that wait keep their place: priority 0, not short.
"""

import sqlalchemy as sa
from alembic import op

from registry.tables import Facts

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def job_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("request_sha256", sa.String(length=64)),
        sa.Column("actor", sa.String(length=100)),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("is_short", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("stage", sa.String(length=200)),
        sa.Column("progress", sa.Float()),
        sa.Column("log_tail", sa.Text()),
        sa.Column("started_at", sa.DateTime(timezone=True)),
    )


def upgrade() -> None:
    op.create_table(
        "validations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("champion", sa.Integer()),
        sa.Column("data_sha256", sa.String(length=64), nullable=False),
        sa.Column("data_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", Facts, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_validations"),
    )
    op.create_index("ix_validations_model_id_number", "validations", ["model_id", "number"])
    op.create_table(
        "models",
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("tags", Facts, nullable=False),
        sa.Column("watched", sa.Boolean(), nullable=False),
        sa.Column("recipe", Facts, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("model_id", name="pk_models"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", Facts, nullable=False),
        sa.Column("model_ids", Facts),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_table(
        "data_files",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("format", sa.String(length=10), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", Facts, nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_data_files"),
    )
    op.create_table(
        "outcomes",
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("symbol", sa.String(length=200), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("value", Facts, nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "symbol", "as_of", name="pk_outcomes"),
    )
    op.create_index("ix_outcomes_received_at", "outcomes", ["received_at"])
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("n_slots", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_workers"),
    )
    for column in job_columns():
        op.add_column("jobs", column)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        for column in reversed(job_columns()):
            jobs.drop_column(column.name)
    for table in ("workers", "outcomes", "data_files", "api_keys", "models", "validations"):
        op.drop_table(table)
