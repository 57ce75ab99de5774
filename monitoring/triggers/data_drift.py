"""Trigger `data_drift`: the inputs have drifted, by the k-of-n rule over judged windows."""

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import Finding, VersionReports, count_windows, counted


class DataDrift:
    """Judges by the share of drifted features."""

    name = "data_drift"

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return the level by the number of drifted windows among the newest n that count."""
        last = counted(version.reports, self.name, settings)
        shares = ", ".join(
            "-" if r.drifted_share is None else f"{r.drifted_share:.2f}" for r in last
        )
        drifted = sum(has_drifted(report) for report in last)
        reason = f"{drifted} of the last {len(last)} windows drifted (share {shares})"
        return Finding(count_windows(version.reports, self.name, has_drifted, settings), reason)


def has_drifted(report: DriftReport) -> bool:
    """Return whether a window violates."""
    return report.verdict == "drift"


TRIGGER = DataDrift()
