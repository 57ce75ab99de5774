"""The whole SQL schema of the engine database on one screen.

MLflow keeps runs and versions in its own database; here stands what MLflow has no place for:
digests, gate records, the history of aliases, trial counts, jobs, drift, retraining.
Every time is timezone-aware UTC. Alembic (`migrations/`) makes the tables; this page is what its
migrations must add up to, which a test compares.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Facts = sa.JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time on every database (SQLite drops the zone; this restores it)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without zone cannot be stored: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# What this database and its MLflow know each other by (registry/pairing.py); one row, id 1.
pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("identity", sa.String(32), nullable=False),
    sa.Column("is_marked", sa.Boolean, nullable=False),  # MLflow has been seen to hold it
    sa.Column("paired_at", UtcDateTime, nullable=False),
)

# What was registered: contract, digests of every artifact file, gate record.
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model_id", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("contract", Facts, nullable=False),
    sa.Column("digests", Facts, nullable=False),  # relative path -> sha256
    sa.Column("record", Facts, nullable=False),  # list of gate rows
    sa.Column("may_trade", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# What was measured of a version after its registration, on newer data or against a champion.
validations = sa.Table(
    "validations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_id", sa.String(200), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("champion", sa.Integer),
    sa.Column("data_sha256", sa.String(64), nullable=False),
    sa.Column("data_end", UtcDateTime, nullable=False),
    sa.Column("record", Facts, nullable=False),  # list of gate rows
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_validations_model_id_number", "model_id", "number"),
)

# What people say about a model, and the recipe that makes its next version. A model that a stage
# made gets its row when somebody first says something about it.
models = sa.Table(
    "models",
    metadata,
    sa.Column("model_id", sa.String(200), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("tags", Facts, nullable=False),  # name -> text
    sa.Column("watched", sa.Boolean, nullable=False),  # whether drift jobs are enqueued for it
    sa.Column("recipe", Facts, nullable=False),  # parameters of the entry point `main`
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("archived_at", UtcDateTime),
)

# Who may call. The secret itself is not kept; `id` is the part before the dot.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("scopes", Facts, nullable=False),  # list of predict read manage admin
    sa.Column("model_ids", Facts),  # list; null means every model
    sa.Column("requests_per_minute", sa.Integer),  # null means no limit
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime),
)

# Tables, texts and bars that people uploaded; the file lies below DATA_DIR/data.
data_files = sa.Table(
    "data_files",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),  # table texts bars
    sa.Column("format", sa.String(10), nullable=False),  # csv parquet
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("n_bytes", sa.BigInteger, nullable=False),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
    sa.Column("columns", Facts, nullable=False),  # list of names
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("uploaded_at", UtcDateTime, nullable=False),
)

# What became of predictions, as users reported it (tables and texts have no other outcome).
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("model_id", sa.String(200), primary_key=True),
    sa.Column("symbol", sa.String(200), primary_key=True),  # the prediction log's: symbol or row
    sa.Column("as_of", UtcDateTime, primary_key=True),
    sa.Column("number", sa.Integer),  # version that predicted; null: the log does not know it
    sa.Column("value", Facts, nullable=False),  # number or class
    sa.Column("known_at", UtcDateTime, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Index("ix_outcomes_received_at", "received_at"),
)

# Where each alias points and how often it has moved; the row that promotions lock.
# `number` is what serves, `pending` a promotion begun and not settled, `seen` where MLflow's own
# alias pointed when it was last moved or looked at (it differs from `number` while a move made by
# hand in the MLflow UI is refused).
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("model_id", sa.String(200), primary_key=True),
    sa.Column("alias", sa.String(50), primary_key=True),
    sa.Column("number", sa.Integer),
    sa.Column("pending", sa.Integer),
    sa.Column("seen", sa.Integer),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("moved_at", UtcDateTime, nullable=False),
)

# Who serves: one open row (ended_at null) per model names the champion.
deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_id", sa.String(200), nullable=False),
    sa.Column("champion", sa.Integer, nullable=False),
    sa.Column("challenger", sa.Integer),
    sa.Column("strategy", sa.String(20), nullable=False),  # direct
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(20)),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Index(
        "uq_deployments_open",
        "model_id",
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
)

# Append-only: the audit trail.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("kind", sa.String(50), nullable=False),
    sa.Column("model_id", sa.String(200)),
    sa.Column("number", sa.Integer),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("run_id", sa.String(32)),
    sa.Column("facts", Facts, nullable=False),
    sa.Index("ix_events_model_id_id", "model_id", "id"),
)

# Samples of the data behind trials, by which they are known again (registry/trial_data.py).
trial_data = sa.Table(
    "trial_data",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("names", Facts, nullable=False),  # list of symbols, or of the columns of rows
    sa.Column("interval", sa.String(10), nullable=False),  # empty for rows
    sa.Column("first", sa.BigInteger, nullable=False),  # microseconds UTC
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("symbols", Facts, nullable=False),  # list: symbol, first, last, lengths of samples
    sa.Column("digests", Facts, nullable=False),  # list: lengths of samples of digests
    sa.Column("samples", sa.LargeBinary, nullable=False),  # npz
)

# Every distinct recipe tried on some data: the N of the deflated Sharpe ratio and of every test of
# skill. `question` is what it was tried for: `returns`, or a template. Trials from before revision
# 0004 have a `family`; where their data are not known `data_sha256` is null, and `question` is
# empty where not even the template is.
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("question", sa.String(200), nullable=False),
    sa.Column("recipe", sa.String(64), nullable=False),
    sa.Column("family", sa.String(64)),
    sa.Column("data_sha256", sa.String(64)),
    sa.Column("model_id", sa.String(200), nullable=False),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("first_test", sa.BigInteger),  # microseconds UTC
    sa.Column("sharpe_per_period", sa.Float),
    sa.Column("trading_share", sa.Float),  # of the periods, those with a position
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(["data_sha256"], ["trial_data.sha256"], name="fk_trials_trial_data"),
    sa.Index("ix_trials_question", "question"),
)

# The out-of-fold returns of those trials before costs, and what costs are charged on, per bar.
# `dates` are int64 microseconds UTC, the others float64, little-endian and deflated by zlib.
trial_returns = sa.Table(
    "trial_returns",
    metadata,
    sa.Column("trial", sa.String(64), primary_key=True),
    sa.Column("n_periods", sa.Integer, nullable=False),
    sa.Column("dates", sa.LargeBinary, nullable=False),
    sa.Column("returns", sa.LargeBinary, nullable=False),
    sa.Column("amount_names", Facts, nullable=False),  # none: the returns are net of costs
    sa.Column("amounts", sa.LargeBinary, nullable=False),  # one row per name
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(["trial"], ["trials.id"], name="fk_trial_returns_trials"),
)

# Durable work with lease, heartbeat and fencing.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("model_id", sa.String(200)),
    sa.Column("payload", Facts, nullable=False),
    sa.Column("idempotency_key", sa.String(64), unique=True),
    sa.Column("request_sha256", sa.String(64)),  # of the request that enqueued it under its key
    sa.Column("actor", sa.String(100)),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),  # higher goes first
    sa.Column("is_short", sa.Boolean, nullable=False, server_default=sa.false()),  # no training
    sa.Column("state", sa.String(10), nullable=False),  # queued leased done failed cancelled
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("owner", sa.String(100)),
    sa.Column("fence", sa.Integer, nullable=False),  # grows with each claim
    sa.Column("lease_until", UtcDateTime),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("result", Facts),
    sa.Column("error", sa.Text),
    sa.Column("stage", sa.String(200)),  # what it does now: "train: fold 3 of 7"
    sa.Column("progress", sa.Float),  # 0 to 1; null: it has not said
    sa.Column("log_tail", sa.Text),  # last lines of its output, as its worker last saw them
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),  # of the present attempt
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_jobs_state_due_at", "state", "due_at"),
)

# Processes that run jobs, and when each was last alive.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("owner", sa.String(100), primary_key=True),
    sa.Column("n_slots", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

# What runs on an interval; survives a restart of the worker.
schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("interval_seconds", sa.Float, nullable=False),
    sa.Column("next_due_at", UtcDateTime, nullable=False),
)

# One row per judged window of one version.
drift_reports = sa.Table(
    "drift_reports",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_id", sa.String(200), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("window_start", UtcDateTime, nullable=False),
    sa.Column("window_end", UtcDateTime, nullable=False),
    sa.Column("n_rows", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),  # drift no_drift no_verdict bad_data
    sa.Column("drifted_share", sa.Float),
    sa.Column("columns", Facts, nullable=False),  # column -> statistic, threshold, importance
    sa.Column("quality", Facts, nullable=False),  # data-quality checks
    sa.Column("performance", Facts, nullable=False),  # realised on labels known at window_end
    sa.Column("run_id", sa.String(32)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("model_id", "number", "window_start", "window_end"),
)

# The retraining state machine: one row per cycle, at most one open per model.
retraining_cycles = sa.Table(
    "retraining_cycles",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_id", sa.String(200), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("champion", sa.Integer, nullable=False),
    sa.Column("challenger", sa.Integer),
    sa.Column("trigger", sa.String(40), nullable=False),
    sa.Column("as_of", UtcDateTime, nullable=False),  # end of the window that confirmed
    sa.Column("job_id", sa.String(32)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Facts, nullable=False),
    sa.Column("opened_at", UtcDateTime, nullable=False),
    sa.Column("cooldown_until", UtcDateTime),
    sa.Column("closed_at", UtcDateTime),
    sa.Index(
        "uq_retraining_cycles_open",
        "model_id",
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    ),
)

# Searches of workers on several machines, on PostgreSQL only: every change of a study in its order
# (pipelines/tuning/storage). Kept as text: JSON numbers of a journal may be infinite.
study_journal = sa.Table(
    "study_journal",
    metadata,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("line", sa.Text, nullable=False),
)
