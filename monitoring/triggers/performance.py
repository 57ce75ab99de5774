"""Trigger `performance`: realised loss has fallen behind validation, by the k-of-n rule."""

from monitoring.settings import MonitoringSettings
from monitoring.triggers import JUDGED, Finding, VersionReports, count_windows


class Performance:
    """Judges by the realised loss."""

    name = "performance"

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return the level by the number of windows with a fall among the newest n."""
        last = version.reports[-settings.drift_windows_of :]
        fell = [r.verdict in JUDGED and r.performance.get("fell") is True for r in last]
        newest = last[-1].performance if last else {}
        excess, expected = newest.get("excess"), newest.get("expected_excess")
        shown = (
            f"excess {excess:.3f}, validated {expected:.3f}" if _numbers(excess, expected) else ""
        )
        if newest.get("fell") is None and (why := newest.get("why")):
            shown = f"{shown} (not judged: {why})".strip()
        reason = f"{sum(fell)} of the last {len(last)} windows show a fall {shown}".strip()
        return Finding(count_windows(fell, settings), reason)


def _numbers(*values: object) -> bool:
    return all(isinstance(value, float | int) for value in values)


TRIGGER = Performance()
