"""Trigger `data_drift`: the inputs have drifted, by the k-of-n rule over judged windows."""

from monitoring.settings import MonitoringSettings
from monitoring.triggers import Finding, VersionReports, count_windows


class DataDrift:
    """Judges by the share of drifted features."""

    name = "data_drift"

    def judge(self, version: VersionReports, settings: MonitoringSettings) -> Finding:
        """Return the level by the number of drifted windows among the newest n."""
        last = version.reports[-settings.drift_windows_of :]
        drifted = [report.verdict == "drift" for report in last]
        shares = ", ".join(
            "-" if r.drifted_share is None else f"{r.drifted_share:.2f}" for r in last
        )
        reason = f"{sum(drifted)} of the last {len(last)} windows drifted (share {shares})"
        return Finding(count_windows(drifted, settings), reason)


TRIGGER = DataDrift()
