"""DriftRun: what the drift stage shows in MLflow.

Numbers of every window are metrics whose step is the window's place and whose time is the window's
end. Evidently's page, five megabytes, is kept for windows worth opening: the newest, and each that
begins to violate. One picture shows the share over time with the limit and the confirmed windows.
"""

from dataclasses import replace
from datetime import datetime

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import Level, count_windows
from monitoring.triggers.data_drift import TRIGGER as DATA_DRIFT
from monitoring.triggers.data_drift import has_drifted
from pipelines.stage import say_what_run_is

ABOUT_WINDOWS = """Windows of the prediction log against the version's training data.

- `drifted_share`: the drifted features' share of all importance. A window above the limit violates.
  The pages under `reports/` give every feature the same weight, so their share differs.
- `loss`, `baseline_loss`: mean realised loss of the newest labelled bars. `excess` is their
  difference, below 0 where the model is better than its baseline.
- `windows_<verdict>`: number of windows with this verdict. `drift_over_time.png` shows all of them.
"""
NUMBERS = ("loss", "baseline_loss", "excess", "new_labelled_bars")


class DriftRun:
    """Writes one run of the stage; one instance per run."""

    def __init__(self, run_id: str, model_id: str, number: int) -> None:
        import mlflow  # takes seconds: only once MLflow has answered

        self.run_id = run_id
        self._mlflow, self._client = mlflow, mlflow.MlflowClient()
        self._shown: list[DriftReport] = []
        mlflow.set_tags({"model_id": model_id, "version": str(number)})
        say_what_run_is(f"drift v{number} {model_id}", ABOUT_WINDOWS)

    def signed(self, report: DriftReport) -> DriftReport:
        """Return the report with this run as its evidence."""
        return replace(report, run_id=self.run_id)

    def log(self, report: DriftReport) -> None:
        """Log the numbers of a window."""
        values = {"rows": float(report.n_rows)}
        if report.drifted_share is not None:
            values["drifted_share"] = report.drifted_share
        for name in NUMBERS:
            value = report.performance.get(name)
            if isinstance(value, int | float):
                values[name] = float(value)
        at, step = int(report.window_end.timestamp() * 1e3), len(self._shown)
        metrics = [
            self._mlflow.entities.Metric(name, value, at, step) for name, value in values.items()
        ]
        self._client.log_batch(self.run_id, metrics=metrics)
        self._shown.append(report)

    def wants_page(self, report: DriftReport, is_last: bool) -> bool:
        """Return whether a window that was just logged is worth a page of its own."""
        before = self._shown[-2].verdict if len(self._shown) > 1 else "no_drift"
        return is_last or (report.verdict == "drift" and before != "drift")

    def log_page(self, report: DriftReport, page: str) -> None:
        """Log Evidently's page of a window."""
        self._mlflow.log_text(page, f"reports/{report.window_end:%Y-%m-%dT%H%M}.html")

    def finish(self, share_limit: float, settings: MonitoringSettings) -> None:
        """Log the counts and the picture of all windows."""
        verdicts = [report.verdict for report in self._shown]
        self._mlflow.log_metrics({f"windows_{v}": float(verdicts.count(v)) for v in set(verdicts)})
        judged = [r for r in self._shown if r.drifted_share is not None]
        if judged:
            _draw(judged, share_limit, _confirmed(judged, settings), settings)


def _confirmed(judged: list[DriftReport], settings: MonitoringSettings) -> list[int]:
    """Return the places of the counted windows at which the k-of-n rule is met."""
    name = DATA_DRIFT.name
    return [
        i
        for i, report in enumerate(judged)
        if report.counts_for(name)
        and count_windows(judged[: i + 1], name, has_drifted, settings) is Level.CONFIRMED
    ]


def _draw(
    judged: list[DriftReport],
    share_limit: float,
    confirmed: list[int],
    settings: MonitoringSettings,
) -> None:
    import mlflow
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=110)
    axes = figure.subplots()
    ends: list[datetime] = [r.window_end for r in judged]
    shares = [r.drifted_share or 0.0 for r in judged]
    rule = f"{settings.drift_windows_needed} of {settings.drift_windows_of} windows"
    axes.plot(ends, shares, "o-", color="0.4", lw=1, ms=2.5, label="window")  # type: ignore[arg-type]
    axes.axhline(share_limit, color="tab:red", lw=1, ls="--", label=f"limit {share_limit:.0%}")
    axes.scatter(
        [ends[i] for i in confirmed],  # type: ignore[arg-type]
        [shares[i] for i in confirmed],
        color="tab:red",
        s=20,
        zorder=3,
        label=f"drift confirmed ({rule} violate)",
    )
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set(ylim=(-0.02, 1.02), xlabel="end of window")
    axes.set_ylabel("features that drifted,\nweighted by importance")
    axes.set_title(f"{judged[0].model_id} version {judged[0].number}: drift of inputs")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    mlflow.log_figure(figure, "drift_over_time.png")
