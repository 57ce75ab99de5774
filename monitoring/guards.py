"""Storm guards: what keeps a confirmed cycle from starting a run, and what stops retraining (HOLD).

Each guard is a reason in one line, or nothing. RETRAIN_CLOCK names the clock that they are measured
on: `wall` (real time, the default) or `as_of` (the ends of the judged windows). A replay of two
years in a minute needs `as_of`, because on `wall` it would meet every cool-down. `wall` is the
default, because on `as_of` a bulk upload of old data could start many runs in a minute.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitoring.cycles import Cycle
from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings

SPANS = (("day", timedelta(days=1)), ("week", timedelta(days=7)))


def clock(settings: MonitoringSettings, newest: DriftReport | None) -> datetime:
    """Return the time now, on the clock that RETRAIN_CLOCK names."""
    if settings.retrain_clock == "as_of" and newest is not None:
        return newest.window_end
    return datetime.now(UTC)


def blocked(
    past: Sequence[Cycle], newest: DriftReport, now: datetime, settings: MonitoringSettings
) -> str:
    """Return the reason why no run may start now; empty when one may.

    Args:
        past: the model's cycles, newest first, the one that wants to run included.
        newest: the newest report of the version that serves.
    """
    if not settings.retrain_enabled:
        return "RETRAIN_ENABLED is false"
    new_bars = newest.performance.get("new_labelled_bars", 0)
    found = int(new_bars) if isinstance(new_bars, int | float) else 0
    if found < settings.retrain_min_new_bars:
        return f"{found} newly labelled bar times, {settings.retrain_min_new_bars} needed"
    budgets = (settings.retrain_runs_per_day, settings.retrain_runs_per_week)
    for (name, span), budget in zip(SPANS, budgets, strict=True):
        runs = sum(_ran_since(cycle, now - span, settings) for cycle in past)
        if runs >= budget:
            return f"{runs} runs in the last {name}, the budget is {budget}"
    return ""


def held(past: Sequence[Cycle], now: datetime, settings: MonitoringSettings) -> str:
    """Return the reason why a person must look before the next run; empty when nobody must.

    Args:
        past: the model's cycles, newest first, the one just decided included.
    """
    n_rejects = rejects_in_a_row(past)
    if n_rejects >= settings.retrain_max_rejects:
        return f"{n_rejects} rejects in a row; look at their reasons, then resume"
    n_changes = champion_changes(past, now, settings)
    if n_changes > settings.retrain_changes_per_week:
        allowed = settings.retrain_changes_per_week
        return f"{n_changes} new champions in a week, {allowed} allowed; look why, then resume"
    return ""


def champion_changes(past: Sequence[Cycle], now: datetime, settings: MonitoringSettings) -> int:
    """Count the promotions that came from runs of the last week, without the daily refits.

    A resume ends the count.
    """
    count = 0
    for cycle in past:
        if cycle.evidence.get("resumed") is True:
            break
        if cycle.refit_day is not None:  # planned, so no sign of a storm
            continue
        is_recent = _ran_since(cycle, now - timedelta(days=7), settings)
        count += cycle.outcome == "promoted" and is_recent
    return count


def rejects_in_a_row(past: Sequence[Cycle]) -> int:
    """Count the newest attempts that were rejected; a promotion or a resume ends the row."""
    count = 0
    for cycle in past:
        if cycle.outcome == "promoted" or cycle.evidence.get("resumed") is True:
            break
        count += cycle.outcome == "rejected"
    return count


def cooldown(now: datetime, n_rejects: int, settings: MonitoringSettings) -> datetime:
    """Return the end of the pause after an attempt; each reject in a row doubles the pause."""
    return now + timedelta(days=settings.retrain_cooldown_days * 2**n_rejects)


def _ran_since(cycle: Cycle, since: datetime, settings: MonitoringSettings) -> bool:
    """Whether a run of this cycle was enqueued after a time; the cycle may be much older."""
    if cycle.run_at is None:
        return False
    return (cycle.as_of if settings.retrain_clock == "as_of" else cycle.run_at) > since
