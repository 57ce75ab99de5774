"""Trigger `schedule`: too much time since training, with or without drift."""

from datetime import timedelta

from monitoring.settings import MonitoringSettings
from monitoring.triggers import JUDGED, Finding, Level, VersionReports


class Schedule:
    """Judges by the age of the training data."""

    name = "schedule"

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return CONFIRMED when RETRAIN_FLOOR_DAYS have passed since the training data's end."""
        age = version.now - version.trained_until
        floor = timedelta(days=settings.retrain_floor_days)
        has_data = bool(version.reports) and version.reports[-1].verdict in JUDGED
        is_due = settings.retrain_floor_days > 0 and age >= floor and has_data
        reason = f"trained on data until {age.days} days ago, floor {floor.days} days"
        return Finding(Level.CONFIRMED if is_due else Level.CALM, reason)


TRIGGER = Schedule()
