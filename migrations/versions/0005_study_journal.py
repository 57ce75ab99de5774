"""Searches whose workers are on several machines: the journal of their studies.

Revision: 0005, after 0004. Written on PostgreSQL only; studies of one machine are files.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study_journal",
        sa.Column("study", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study", "number", name="pk_study_journal"),
    )


def downgrade() -> None:
    op.drop_table("study_journal")
