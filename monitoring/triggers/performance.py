"""Trigger `performance`: realised loss has fallen behind validation, by the k-of-n rule."""

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import JUDGED, Finding, VersionReports, count_windows, counted


class Performance:
    """Judges by the realised loss."""

    name = "performance"

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return the level by the number of windows with a fall among the newest n that count."""
        last = counted(version.reports, self.name, settings)
        newest = (last or version.reports)[-1].performance if version.reports else {}
        excess, expected = newest.get("excess"), newest.get("expected_excess")
        shown = (
            f"excess {excess:.3f}, validated {expected:.3f}" if _numbers(excess, expected) else ""
        )
        if newest.get("fell") is None and (why := newest.get("why")):
            shown = f"{shown} (not judged: {why})".strip()
        fell = sum(_has_fallen(report) for report in last)
        reason = f"{fell} of the last {len(last)} windows show a fall {shown}".strip()
        return Finding(count_windows(version.reports, self.name, _has_fallen, settings), reason)


def _has_fallen(report: DriftReport) -> bool:
    return report.verdict in JUDGED and report.performance.get("fell") is True


def _numbers(*values: object) -> bool:
    return all(isinstance(value, float | int) for value in values)


TRIGGER = Performance()
