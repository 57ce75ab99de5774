"""A poll of the registry: seconds to learn where the aliases of many models stand.

Fills an MLflow on SQLite and an engine database with models of one version each, through their
stores directly, starts the platform's MLflow server on them, and asks over HTTP as a serving
process does: two calls per model as before, and one look at all of them.
"""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time

import numpy as np
import sqlalchemy as sa

from bench.figures import Figure, report
from bench.loop import environment_of, process
from registry import tables
from registry.command_line import run
from registry.database import opened_engine
from registry.model_store import ModelStore
from registry.settings import PlatformSettings
from registry.versions import Registry

REPEATS = 5


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser("python -m bench.registry_poll", description=__doc__)
    parser.add_argument("--models", type=int, default=500, help="how many (%(default)s)")
    n_models = parser.parse_args().models
    with TemporaryDirectory() as folder:
        figures = _measure(n_models, Path(folder))
    report("registry_poll", figures, {"models": n_models})


def _measure(n_models: int, folder: Path) -> list[Figure]:
    environment = environment_of(folder)
    os.environ.update(environment)
    settings = PlatformSettings()
    uri = settings.mlflow_tracking_uri
    with (
        process("registry.tracking_server", environment, folder, f"{uri}/health"),
        opened_engine(settings) as engine,
    ):
        registry = Registry(settings, engine)
        _fill(n_models, settings, engine)
        return [
            _median("two_calls_per_model_s", lambda: _two_calls(registry)),
            _median("one_look_s", registry.look),
        ]


def _two_calls(registry: Registry) -> None:
    for model_id in registry.model_ids():
        registry.resolve_alias(model_id)
        registry.aliases(model_id)


def _fill(n_models: int, settings: PlatformSettings, engine: sa.Engine) -> None:
    """Write models with version 1 as `staging` and `production`, as promotions would have."""
    from mlflow.store.model_registry.dbmodels import models

    ModelStore(settings.mlflow_tracking_uri).all_aliases()  # the server has made its tables
    names = [f"model_{i:05}" for i in range(n_models)]
    at, now = int(1000 * time()), datetime.now(UTC)
    aliases = [{"name": n, "alias": a} for n in names for a in ("production", "staging")]
    version = {"version": 1, "current_stage": "None", "status": "READY", "source": "models:/m"}
    times = {"creation_time": at, "last_updated_time": at}
    database = sa.create_engine(f"sqlite:///{settings.data_dir}/mlflow.db")
    with database.begin() as mlflow:
        for table, rows in (
            (models.SqlRegisteredModel, [{"name": n} | times for n in names]),
            (models.SqlModelVersion, [{"name": n} | version | times for n in names]),
            (models.SqlRegisteredModelAlias, [row | {"version": 1} for row in aliases]),
        ):
            mlflow.execute(sa.insert(table), rows)
    nothing = {"contract": {}, "digests": {}, "record": [], "may_trade": False}
    made = {"number": 1, "run_id": "0" * 32, "created_at": now}
    serves = {"alias": "production", "number": 1, "seen": 1, "generation": 1, "moved_at": now}
    with engine.begin() as connection:
        rows = [{"model_id": n} | made | nothing for n in names]
        connection.execute(sa.insert(tables.versions), rows)
        connection.execute(sa.insert(tables.aliases), [{"model_id": n} | serves for n in names])


def _median(name: str, look: Callable[[], object]) -> Figure:
    look()  # imports, connections
    seconds = []
    for _ in range(REPEATS):
        began = perf_counter()
        look()
        seconds.append(perf_counter() - began)
    note = f"median of {REPEATS}; min {min(seconds):.3g}, max {max(seconds):.3g}"
    return Figure(name, float(np.median(seconds)), "s", note)


if __name__ == "__main__":
    run(main)
