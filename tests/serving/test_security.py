"""Nothing is answered without the right key, whichever way a path is written."""

import gzip
import time

import pytest
import sqlalchemy as sa

from monitoring.settings import PredictionLogSettings
from registry.errors import NoKeysError, TooManyRequestsError
from registry.settings import PlatformSettings
from serving.app import create_app
from serving.keys import Rights, make_key, revoke_key
from serving.route_table import Route, Scope
from serving.routes import ROUTES
from serving.security import KeyRing, RateLimits, is_loopback
from serving.settings import ServingSettings

GUARDED = [route for route in ROUTES if route.scope is not Scope.OPEN]
SCOPES = (Scope.PREDICT, Scope.READ, Scope.MANAGE, Scope.ADMIN)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def address(route: Route) -> str:
    """Return a path of the route, its parameters filled."""
    filled = {key: value for example in route.examples for key, value in example.path.items()}
    return route.path.format(**filled)


@pytest.fixture
def database(app):
    return app.state.service.database


@pytest.fixture
def key_of(app, database):
    """Make a key with these rights; return its headers."""

    def make(*scopes, **rights):
        _, text = make_key(database, Rights(scopes or SCOPES, **rights), actor="test")
        app.state.service.security.keys.load()
        return {"authorization": f"Bearer {text}"}

    return make


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, running):
    """A client without a key, of an application that listens on every address."""
    folder = tmp_path_factory.mktemp("guarded")
    (secret := folder / "first").write_text(f"first.{'s' * 43}")
    listening = ServingSettings(
        ml_engine_host="0.0.0.0", first_key_file=str(secret), alias_poll_interval=60
    )
    platform = PlatformSettings(
        data_dir=folder / "var", database_url="", mlflow_tracking_uri="http://127.0.0.1:9"
    )
    with running(create_app(platform, listening, PredictionLogSettings())) as client:
        yield client


# The walk over the route table --------------------------------------------------------------------


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_a_route_answers_401_without_a_key_and_403_with_another_scope(client, key_of, route):
    others = [scope for scope in SCOPES if scope is not route.scope]
    wrong = key_of(*others)
    if not route.open_on_loopback:
        assert client.request(route.method, address(route)).status_code == 401
        answer = client.request(route.method, address(route), headers=wrong)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
    right = client.request(route.method, address(route), headers=key_of(route.scope))
    assert right.status_code not in (401, 403)


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_beyond_loopback_every_guarded_route_needs_its_key(stranger, route):
    answer = stranger.request(route.method, address(route))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_no_spelling_of_a_path_gets_around_the_guard(stranger, route):
    path = address(route)
    spellings = [
        f"/{path}",
        f"{path}/",
        f"{path}//",
        f"/.{path}",
        f"/x/..{path}",
        f"{path}%2f",
        f"{path};a=b",
        f"{path}%00",
        "/" + path.replace("/", "%2F"),
        path.upper(),
        "/" + "".join(f"%{ord(letter):02x}" for letter in path[1:]),
        f"{path}?key=admin&api_key=x",
        f"{path}#x",
    ]
    methods = ("HEAD", "OPTIONS", "PATCH", "TRACE", route.method.lower())
    asked = [(route.method, spelling) for spelling in spellings] + [(m, path) for m in methods]
    for method, spelling in asked:
        answer = stranger.request(method, f"http://127.0.0.1{spelling}")
        assert answer.status_code in (401, 404, 405), (method, spelling)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.scope is Scope.OPEN], ids=name)
def test_open_routes_need_no_key_anywhere(stranger, route):
    assert stranger.request(route.method, address(route)).status_code in (200, 503)


def test_everything_that_the_application_routes_stands_in_the_table(app):
    routed = {(method, route.path) for route in app.routes for method in route.methods}
    assert routed == {(route.method, route.path) for route in ROUTES}


def test_a_route_without_a_scope_stops_the_start():
    async def endpoint() -> None:
        """Answer."""

    with pytest.raises(TypeError, match="scope"):
        Route("GET", "/x", endpoint=endpoint)
    with pytest.raises(ValueError, match="is not a valid Scope"):
        Route("GET", "/x", "", endpoint)
    with pytest.raises(ValueError, match="has no example"):
        Route("GET", "/x", Scope.OPEN, endpoint)


# Keys ---------------------------------------------------------------------------------------------


def test_on_loopback_without_any_key_predict_and_read_are_open_and_health_says_so(client):
    assert client.get("/models").status_code == 200
    assert client.get("/health").json()["access"].startswith("open")


def test_after_the_first_key_nothing_is_open_even_when_it_is_revoked(client, key_of, database):
    headers = key_of()
    assert client.get("/models").status_code == 401
    assert client.get("/health").json()["access"].startswith("keys")
    revoke_key(database, headers["authorization"][7:].partition(".")[0], actor="x", reason="x")
    client_keys(client).load()
    assert client.get("/models").status_code == 401
    assert client.get("/models", headers=headers).status_code == 401


def client_keys(client) -> KeyRing:
    return client.app.state.service.security.keys


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_comes_in_either_header(client, key_of, header):
    text = key_of()["authorization"][7:]
    value = f"bearer  {text}" if header == "Authorization" else text
    assert client.get("/models", headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda key: {"authorization": f"Basic {key}"},
        lambda key: {"authorization": key},
        lambda key: {"authorization": f"Bearer {key}x"},
        lambda key: {"authorization": f"Bearer {key[:-1]}"},
        lambda key: {"authorization": f"Bearer {key.upper()}"},
        lambda key: {"authorization": f"Bearer {key.partition('.')[0]}."},
        lambda key: {"authorization": f"Bearer .{key.partition('.')[2]}"},
        lambda _: {"authorization": "Bearer "},
        lambda _: {"x-api-key": ""},
        lambda _: {"x-api-key": "\xff.\xff"},
        lambda key: {"x-api-key": key, "authorization": "Bearer other.key"},
        lambda key: {"cookie": f"key={key}"},
    ],
)
def test_a_key_that_is_not_exactly_right_is_401_and_is_not_shown(client, key_of, change):
    key = key_of()["authorization"][7:]
    headers = {name: value.encode("latin-1") for name, value in change(key).items()}
    answer = client.get("/models", headers=headers)
    assert answer.status_code == 401
    assert key.partition(".")[2][:20] not in answer.text


def test_a_key_in_the_url_is_no_key(client, key_of):
    key = key_of()["authorization"][7:]
    assert client.get(f"/models?api_key={key}&X-API-Key={key}").status_code == 401


def test_the_body_is_not_read_before_the_key_is_right(client, key_of):
    key_of()
    answer = client.post("/predict", content=b"{not json", headers={"content-type": "text/plain"})
    assert answer.status_code == 401


def test_a_revocation_is_followed_while_the_key_is_in_use(client, key_of, database):
    headers = key_of()
    assert client.get("/models", headers=headers).status_code == 200
    key_id = headers["authorization"][7:].partition(".")[0]
    revoke_key(database, key_id, actor="x", reason="x")
    began = time.monotonic()
    while client.get("/models", headers=headers).status_code == 200:
        assert time.monotonic() - began < 4
        time.sleep(0.05)


def test_a_key_made_elsewhere_is_known_soon(client, database):
    _, text = make_key(database, Rights(("read",)), actor="another process")
    began = time.monotonic()
    while client.get("/models", headers={"x-api-key": text}).status_code != 200:
        assert time.monotonic() - began < 4
        time.sleep(0.05)


def test_a_key_of_some_models_sees_and_asks_no_other(client, key_of):
    mine, other = key_of(model_ids=("volatility_forecast",)), key_of(model_ids=("m2",))
    assert client.get("/models/volatility_forecast", headers=mine).status_code in (200, 404)
    answer = client.get("/models/volatility_forecast", headers=other)
    assert answer.status_code == 403
    assert answer.json()["error"]["details"]["allowed"] == ["m2"]


def test_a_rate_limit_is_429_with_the_time_to_wait_and_each_key_has_its_own(client, key_of):
    slow, other = key_of(requests_per_minute=2), key_of(requests_per_minute=2)
    statuses = [client.get("/models", headers=slow).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = client.get("/models", headers=slow)
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert client.get("/models", headers=other).status_code == 200


def test_a_bucket_fills_evenly_and_a_clock_that_jumps_back_gives_nothing(engine):
    key, _ = make_key(engine, Rights(("read",), None, 60), actor="x")
    now = [100.0]
    limits = RateLimits(lambda: now[0])
    for _ in range(60):
        limits.take(key)
    with pytest.raises(TooManyRequestsError):
        limits.take(key)
    now[0] = 102.0  # one request a second
    limits.take(key)
    limits.take(key)
    now[0] = 50.0
    with pytest.raises(TooManyRequestsError):
        limits.take(key)


# Where requests come from -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8400", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8400", 200),
        ("[::1]:8400", 200),
        ("192.0.2.7", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example:8400@localhost", 200),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_hosts_that_are_not_served_are_refused(client, host, status):
    answer = client.get("/models", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 200),
        ("https://127.0.0.1", 200),
        ("http://127.0.0.1:1", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://127.0.0.1", 403),
    ],
)
def test_pages_of_other_sites_are_refused(client, origin, status):
    assert client.get("/models", headers={"origin": origin}).status_code == status


def test_listed_hosts_and_origins_are_served(settings, serving_settings, running):
    listed = serving_settings.model_copy(
        update={"allowed_hosts": "ml.desk.example, b", "allowed_origins": "https://desk.example"}
    )
    with running(create_app(settings, listed, PredictionLogSettings())) as client:
        headers = {"host": "ml.desk.example", "origin": "https://desk.example"}
        assert client.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "myhost", "")),
    ],
)
def test_what_loopback_is(host, expected):
    assert is_loopback(host) is expected


def test_beyond_loopback_without_a_key_it_does_not_start(settings, serving_settings):
    listening = serving_settings.model_copy(update={"ml_engine_host": "0.0.0.0"})
    with pytest.raises(NoKeysError, match="python -m serving.keys make"):
        create_app(settings, listening, PredictionLogSettings())


def test_a_secret_file_is_key_enough_to_start(settings, tmp_path, running):
    secret = tmp_path / "first"
    secret.write_text(f"first.{'s' * 43}")
    listening = ServingSettings(
        ml_engine_host="0.0.0.0", first_key_file=str(secret), alias_poll_interval=60
    )
    with running(create_app(settings, listening, PredictionLogSettings())) as client:
        headers = {"x-api-key": secret.read_text()}
        assert client.get("/models", headers=headers).status_code == 200
        assert client.get("/metrics").status_code == 401


def test_keys_stay_valid_while_the_database_is_away(engine, tmp_path, capsys):
    _, text = make_key(engine, Rights(("read",)), actor="x")
    ring = KeyRing(engine)
    ring._engine = sa.create_engine(f"sqlite:///{tmp_path / 'gone' / 'engine.db'}")
    ring.refresh()
    assert ring.find(text) is not None
    assert "keys not read" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"])
def test_a_compressed_body_is_415_and_is_not_unpacked(client, encoding):
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    bomb = gzip.compress(b"[" + b"0," * 5_000_000 + b"0]")
    for path in ("/predict", "/bars"):
        answer = client.post(path, content=bomb, headers=headers)
        assert answer.status_code == 415
        assert answer.json()["error"]["code"] == "unsupported_media_type"


def test_a_stranger_learns_from_health_how_it_is_and_no_names(client, key_of):
    reader, other = key_of("read"), key_of("read", model_ids=("m2",))
    stranger = client.get("/health").json()
    assert (stranger["status"], stranger["loaded"]) == ("degraded", {})
    assert {told["detail"] for told in stranger["dependencies"].values()} == {""}
    known = client.get("/health", headers=reader).json()
    assert known["loaded"] == {"volatility_forecast": 1}
    assert all(told["detail"] for told in known["dependencies"].values())
    assert client.get("/health", headers=other).json()["loaded"] == {}
