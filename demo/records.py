"""What the parts of the platform have recorded, printed: drift, retraining, gates, events.

Reads the engine database through the packages' own functions. It changes nothing, except that it
asks for one promotion that must be refused.
"""

import time
from collections import Counter
from datetime import datetime

from demo.client import Client, StepFailedError
from demo.terminal import say
from monitoring import cycles, reports
from monitoring.cycles import Cycle, State
from registry import events
from registry.errors import GateRefusedError
from registry.versions import Registry

VERDICT_SECONDS = 60
DECIDED = ("retraining_promoted", "retraining_rejected")


def follow_retraining(client: Client, model: str) -> datetime | None:
    """Print the drift found, wait for the retraining it started, print the verdict.

    Returns:
        The end of the window that confirmed drift; None when none did.
    """
    show_drift(client, model)
    found = cycles.history(client.engine, model)
    confirmed = next((cycle for cycle in found if cycle.job_id), None)
    if confirmed is None or confirmed.job_id is None:
        print("  drift was not confirmed; nothing is retrained")
        return None
    print(f"  {confirmed.trigger} confirmed at {confirmed.as_of:%Y-%m-%d}, one retraining job:")
    client.wait_for_job(confirmed.job_id)
    decided = _wait_for_verdict(client, confirmed)
    if decided.challenger is not None:
        show_gates(client, model, decided.challenger, "champion.")
    for event in events.read(client.engine, model):
        if event.kind in DECIDED:
            say(f"verdict: {event.kind.removeprefix('retraining_')}: {event.reason}")
    return decided.as_of


def show_drift(client: Client, model: str) -> None:
    """Print how many of the judged windows violated, per quarter."""
    judged: Counter[str] = Counter()
    violating: Counter[str] = Counter()
    for report in sorted(
        reports.newest(client.engine, model, limit=10_000), key=lambda r: r.window_end
    ):
        quarter = f"{report.window_end:%Y} Q{(report.window_end.month + 2) // 3}"
        judged[quarter] += 1
        violating[quarter] += report.verdict == "drift"
    print("  windows that drifted, of those judged:")
    for year in sorted({quarter[:4] for quarter in judged}):
        shown = [f"{q[5:]} {violating[q]:2}/{judged[q]:2}" for q in judged if q.startswith(year)]
        print(f"    {year}  {'   '.join(shown)}")


def refused_challenger(client: Client, model: str, as_of: datetime) -> None:
    """Run a challenger that has seen one year only, and ask for its promotion.

    It stands against version 1, as the first challenger did.
    """
    print("  a second challenger, fitted on the newest 252 days only:")
    client.enqueue(
        "main",
        {
            "template": model,
            "model_name": model,
            "source": "store",
            "end": as_of.isoformat(),
            "recent_bars": "252",
            "champion": "1",
            "trigger": "data_drift",
        },
    )
    registry = Registry(client.settings, client.engine)
    number = max(version.number for version in registry.list_versions(model))
    try:
        registry.promote(model, number, actor="demo", reason="shows a refusal")
    except GateRefusedError as exc:
        print(f"  {model} version {number} is refused by its {exc.lock} lock:")
        for line in exc.refusals:
            say(line, indent=4)


def show_gates(client: Client, model: str, number: int, prefix: str = "") -> None:
    """Print a version's gate rows whose name starts with `prefix`."""
    for row in Registry(client.settings, client.engine).get(model, number).record:
        if row.gate.startswith(prefix):
            say(row.judged(), indent=4)


def show_events(client: Client, model: str) -> None:
    """Print the event log of a model, one line per event."""
    for event in events.read(client.engine, model):
        version = f"version {event.number}" if event.number else ""
        say(f"{event.at:%H:%M:%S} {event.kind:25} {version:9} {event.actor}: {event.reason}", 4)


def _wait_for_verdict(client: Client, cycle: Cycle) -> Cycle:
    deadline = time.monotonic() + VERDICT_SECONDS
    while time.monotonic() < deadline:
        now = next(c for c in cycles.history(client.engine, cycle.model_id) if c.id == cycle.id)
        if now.state in (State.COOLDOWN, State.HOLD) or now.closed_at is not None:
            return now
        time.sleep(0.3)
    raise StepFailedError("retraining", f"no verdict within {VERDICT_SECONDS} s")
