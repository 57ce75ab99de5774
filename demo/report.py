"""The last page of the demo: what happened, in one short table, and where to look."""

from datetime import datetime, timedelta

import httpx
import numpy as np

from demo.client import Client
from demo.market import Replay
from demo.records import show_events
from pipelines.data.bars import to_microseconds
from pipelines.data.features import FEATURE_SETS
from pipelines.recipes.inputs.bars import build_rows
from pipelines.recipes.score import per_time, score
from pipelines.templates import TEMPLATES, over_bars
from registry.artifacts import ArtifactCache
from registry.versions import Registry

MODEL_TRAINING = "workflowType=machine_learning"
"""MLflow has two user interfaces: this one for models, the other for language models."""
SIX_MONTHS = timedelta(days=184)


def report(client: Client, replay: Replay, model: str, as_of: datetime | None) -> None:
    """Print events, how every version did after the promotion, and addresses."""
    print("  events:")
    show_events(client, model)
    if as_of is not None:
        after(client, replay, model, as_of)
    print("  look at")
    for what, where in _addresses(client, model):
        print(f"    {what:32} {where}")


def _addresses(client: Client, model: str) -> list[tuple[str, str]]:
    tracking = client.settings.mlflow_tracking_uri
    found = httpx.get(
        f"{tracking}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": model}
    ).raise_for_status()
    experiment = found.json()["experiment"]["experiment_id"]
    return [
        ("versions, aliases, gates", f"{tracking}/#/models/{model}"),
        (
            "runs, pictures, drift pages",
            f"{tracking}/#/experiments/{experiment}/runs?{MODEL_TRAINING}",
        ),
        ("models that serve", f"{client.url}/"),
        ("the API, with examples", f"{client.url}/docs"),
    ]


def after(client: Client, replay: Replay, model: str, as_of: datetime) -> None:
    """Print the mean loss of each version in the six months after `as_of`, on the same rows."""
    cache = ArtifactCache(client.settings, client.engine)
    registered = Registry(client.settings, client.engine).list_versions(model)
    found = [cache.fetch(model, version.number) for version in registered]
    contract = found[0].contract
    template = over_bars(TEMPLATES.get(contract.template))
    rows = build_rows(
        template,
        FEATURE_SETS.get(contract.feature_set),
        replay.bars.between(None, as_of + SIX_MONTHS),
        contract.window,
        contract.label_spec,
    )
    window = rows.take(rows.t0 > to_microseconds(as_of))
    losses = [score(version, replay.bars, window) for version in found]
    _, means = per_time(window, *losses, template.baseline_loss(window))
    print(
        f"  the six months after {as_of:%Y-%m-%d}, {len(np.unique(window.t0))} days of "
        f"{len(contract.symbols)} symbols, on which no version was fitted"
    )
    print("    version      trained until  mean loss minus EWMA(0.94)")
    for version, loss in zip(found, means[:-1] - means[-1], strict=True):
        trained = version.contract.trained_until[:10]
        print(f"    {version.number:<12} {trained:14} {loss.mean():+.4f}")
