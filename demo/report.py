"""The last page of the demo: what happened, in one short table, and where to look."""

from datetime import datetime, timedelta

import numpy as np

from demo.client import Client
from demo.market import Replay
from demo.records import show_events
from pipelines.datasets import build_rows
from pipelines.features import FEATURE_SETS
from pipelines.score import per_time, score
from pipelines.templates import TEMPLATES
from registry.artifacts import ArtifactCache
from registry.versions import Registry

SIX_MONTHS = timedelta(days=184)


def report(client: Client, replay: Replay, model: str, as_of: datetime | None) -> None:
    """Print events, how every version did after the promotion, and addresses."""
    print("  events:")
    show_events(client, model)
    if as_of is not None:
        after(client, replay, model, as_of)
    tracking = client.settings.mlflow_tracking_uri
    print("  look at")
    print(f"    {tracking}/#/models/{model:28} versions, aliases, tags")
    print(f"    {tracking}/#/experiments{'':25} runs with pictures, drift reports (artifacts)")
    print(f"    {client.url}/docs{'':40} API documentation")
    print(f"    {client.url}/models/{model}")


def after(client: Client, replay: Replay, model: str, as_of: datetime) -> None:
    """Print each version's mean loss in the six months after `as_of`, on the same rows."""
    cache = ArtifactCache(client.settings, client.engine)
    registered = Registry(client.settings, client.engine).list_versions(model)
    found = [cache.fetch(model, version.number) for version in registered]
    contract = found[0].contract
    template = TEMPLATES.get(contract.template)
    rows = build_rows(
        template,
        FEATURE_SETS.get(contract.feature_set),
        replay.bars.between(None, as_of + SIX_MONTHS),
        contract.window,
        contract.label_spec,
    )
    window = rows.take(rows.t0 > int(as_of.timestamp() * 1e6))
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
