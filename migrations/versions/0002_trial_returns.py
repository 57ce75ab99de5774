"""Returns of trials, for the probability of backtest overfitting.

Revision: 0002, after 0001. Trials counted before have no series until they are validated again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
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


def downgrade() -> None:
    op.drop_table("trial_returns")
