"""Alembic's entry: runs the engine database's migrations on a connection.

`registry.database.migrate` hands its connection over; from the `alembic` command line the
database is the one that DATABASE_URL names. Tables that are not ours (MLflow's, in a shared
database) are never looked at.
"""

from typing import Any

import sqlalchemy as sa
from alembic import context

from registry.database import VERSION_TABLE, connect
from registry.settings import PlatformSettings, read_settings
from registry.tables import UtcDateTime, metadata


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in metadata.tables


def render_item(kind: str, item: Any, _autogen: Any) -> str | bool:
    return (
        "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False
    )


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=include_name,
        render_item=render_item,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connect(read_settings(PlatformSettings)).begin() as opened:
        run(opened)
