"""Pages for people: complete, linked, and without anything from elsewhere."""

import json
import re

import pytest

from serving import examples
from serving.keys import Rights, make_key
from serving.routes.docs import render
from serving.routes.front_page import _may_trade
from serving.routes.models import ModelLine


@pytest.fixture
def reference(client):
    return client.get("/docs").text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"<(?:script|link|img|iframe)|src=|url\(|@import", answer.text)


def test_every_link_of_the_front_page_leads_somewhere(client):
    links = re.findall(r'href="([^"]+)"', client.get("/").text)
    assert {"/docs", "/docs#post-predict", "/models"} <= set(links)
    for link in links:
        path, _, anchor = link.partition("#")
        answer = client.get(path)
        assert answer.status_code == 200
        assert f'id="{anchor}"' in answer.text or not anchor


def test_the_reference_names_every_address_status_and_field(client, reference):
    openapi = client.get("/openapi.json").json()
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            assert f"<code>{method.upper()} {path}</code>" in reference
            for answer in operation["responses"].values():
                assert answer["description"].replace("'", "&#x27;") in reference
    for name, schema in openapi["components"]["schemas"].items():
        assert f'<h3 id="{name}">' in reference
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in reference


def test_no_two_places_of_the_reference_have_one_name(reference):
    names = re.findall(r' id="([^"]+)"', reference)
    assert len(names) == len(set(names)) > 40


def test_links_of_the_reference_stay_on_the_page(reference):
    for anchor in re.findall(r'href="#([^"]+)"', reference):
        assert f'id="{anchor}"' in reference


def test_the_reference_shows_every_example_as_a_command(reference):
    key = r"-H &quot;X-API-Key: \$KEY&quot;"
    command = rf"<pre>curl -s {key} http://\S+/predict -H 'Content-Type: \S+' \\\n  -d '(.*?)'"
    shown = re.findall(command, reference, re.S)
    bodies = [json.loads(text.replace("&quot;", '"')) for text in shown]
    assert bodies == list(examples.PREDICT.values())


def test_text_of_the_description_cannot_become_markup():
    openapi = {
        "info": {"title": "<b>", "version": "1", "description": "`x` <i>"},
        "paths": {},
        "components": {"schemas": {"A": {"properties": {"<u>": {"type": "string"}}}}},
    }
    found = render(openapi, "http://x")
    assert not re.findall("<b>|<i>|<u>", found)
    assert "<code>x</code> &lt;i&gt;" in found


@pytest.mark.parametrize(
    ("template", "may_trade", "shown"),
    [
        ("volatility_forecast", False, "answers are no actions"),
        ("trading_signals", False, "no: trade lock shut"),
        ("trading_signals", True, "yes"),
        ("gone", False, "no: trade lock shut"),
        ("trading_signals", None, ""),
    ],
)
def test_the_front_page_says_why_a_model_does_not_trade(template, may_trade, shown):
    line = ModelLine(
        model_id="m",
        template=template,
        serving_version=1,
        aliases={},
        n_versions=1,
        may_trade=may_trade,
        problem=None,
    )
    assert _may_trade(line) == shown


def test_the_front_page_shows_models_to_those_who_may_read(client):
    database, keys = client.app.state.service.database, client.app.state.service.security.keys
    assert "None yet" in client.get("/").text  # open: no key was ever made
    _, text = make_key(database, Rights(("read",)), actor="x")
    _, other = make_key(database, Rights(("predict",)), actor="x")
    keys.load()
    assert "scope <code>read</code>" in client.get("/").text
    assert "scope <code>read</code>" in client.get("/", headers={"x-api-key": other}).text
    assert "None yet" in client.get("/", headers={"x-api-key": text}).text
    assert client.get("/", headers={"x-api-key": f"{text}x"}).status_code == 401
