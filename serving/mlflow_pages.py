"""Pages of MLflow's web interface that answers link to; without the password of its address."""

from urllib.parse import quote, urlsplit

from pipelines.report import REPORT_FILE


def server_of(tracking_uri: str) -> str | None:
    """Return the address that a browser opens; None where MLflow is a database, not a server."""
    address = urlsplit(tracking_uri)
    if address.scheme not in ("http", "https"):
        return None
    host = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{host}{address.path.rstrip('/')}"


def run_page(tracking_uri: str, run_id: str) -> str | None:
    """Return a run's page."""
    server = server_of(tracking_uri)
    return None if server is None else f"{server}/#/runs/{quote(run_id)}"


def version_pages(tracking_uri: str, model_id: str, number: int, run_id: str) -> dict[str, str]:
    """Return the pages of a version, of the run that made it, and of its report, by name."""
    server, run = server_of(tracking_uri), run_page(tracking_uri, run_id)
    if server is None or run is None:
        return {}
    return {
        "version": f"{server}/#/models/{quote(model_id)}/versions/{number}",
        "run": run,
        "report": f"{server}/get-artifact?path={REPORT_FILE}&run_id={quote(run_id)}",
    }
