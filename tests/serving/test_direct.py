from serving.app import _routes
from serving.direct import Direct
from serving.route_table import GuardedRoute

ROWS = {"model": "m", "rows": [[1.0]]}


def direct_paths():
    routes = [route for route in _routes() if isinstance(route, GuardedRoute) and route.is_direct]
    return {route.path for route in routes}


def test_the_routes_of_predictions_are_direct_and_no_other():
    assert direct_paths() == {
        "/predict",
        "/predict/neural-engine",
        "/predict/metal-gpu",
        "/predict/cuda-gpu",
        "/predict/hybrid",
    }


def test_errors_are_those_of_the_router(client, app, monkeypatch):
    asked = (
        {"json": {"model": "nobody", "symbols": ["A"]}},
        {"json": {"model": 3}},
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"json": ROWS, "headers": {"authorization": "Bearer no.key"}},
        {"json": ROWS, "headers": {"content-encoding": "gzip"}},
        {"json": ROWS, "headers": {"host": "elsewhere.example"}},
    )
    direct = [client.post("/predict", **each) for each in asked]

    async def routed(self, scope, receive, send):
        await self._app(scope, receive, send)

    monkeypatch.setattr(Direct, "__call__", routed)
    by_router = [client.post("/predict", **each) for each in asked]
    assert [a.status_code for a in direct] == [404, 422, 400, 415, 401, 415, 403]
    assert [a.status_code for a in by_router] == [a.status_code for a in direct]
    assert [a.json() for a in by_router] == [a.json() for a in direct]


def test_a_request_is_counted_under_its_route(client):
    client.post("/predict", json={"model": "nobody", "symbols": ["A"]})
    text = client.get("/metrics").text
    assert 'ml_engine_requests_total{method="POST",route="/predict",status="404"}' in text
