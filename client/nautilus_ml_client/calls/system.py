"""The server itself: its health, its state, its machine."""

from nautilus_ml_client.answers import HardwareUtilization, Health, SystemStatus
from nautilus_ml_client.requests import Flow, Request, answered, get


def health() -> Flow[Health]:
    """Tell whether the server can serve; `status` is starting while it cannot yet."""
    request = Request("GET", "/health", is_repeatable=True, accepts=(503,))
    return (yield from answered(request, Health))


def system_status() -> Flow[SystemStatus]:
    """Tell versions, uptime, settings, dependencies, workers, queues and recent traffic."""
    return (yield from answered(get("/system/status"), SystemStatus))


def hardware_utilization() -> Flow[HardwareUtilization]:
    """Tell the use of processor, memory, disk, network and GPUs, now and in the last hour."""
    return (yield from answered(get("/hardware/utilization"), HardwareUtilization))


def metrics() -> Flow[str]:
    """Return counters, histograms and gauges in Prometheus' text format."""
    response = yield get("/metrics")
    return str(response.text)
