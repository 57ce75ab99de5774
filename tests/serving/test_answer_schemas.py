"""OpenAPI describes the answers of every template, and what is answered is as it says."""

import re

import pytest

from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import fields_of
from serving import examples
from serving.answer_schemas import REF, with_answers
from serving.schemas import Prediction

PREFIX = REF.format(model="")
TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


@pytest.fixture
def schemas(client):
    return client.get("/openapi.json").json()["components"]["schemas"]


def problems(value, schema, schemas, where="answer"):
    """Yield how a value differs from a schema; of OpenAPI's words those that our answers use."""
    if target := schema.get("$ref"):
        yield from problems(value, schemas[target.removeprefix(PREFIX)], schemas, where)
        return
    for word, wanted in (("oneOf", 1), ("anyOf", None)):
        if choices := schema.get(word):
            n = sum(not list(problems(value, choice, schemas)) for choice in choices)
            if n == 0 or wanted not in (None, n):
                yield f"{where}: {n} of {word}"
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        yield f"{where}: no {schema['type']}"
        return
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        yield f"{where}: another constant"
    for i, item in enumerate(value if isinstance(value, list) else ()):
        yield from problems(item, schema.get("items", {}), schemas, f"{where}[{i}]")
    if schema.get("type") == "object":
        yield from _problems_of_names(value, schema, schemas, where)


def _problems_of_names(value, schema, schemas, where):
    yield from (f"{where}: no {name}" for name in schema.get("required", ()) if name not in value)
    patterns = schema.get("patternProperties", {})
    for name, inner in value.items():
        place = f"{where}.{name}"
        known = [schema.get("properties", {}).get(name)]
        known += [patterns[p] for p in patterns if re.search(p, name)]
        found = [one for one in known if one is not None] or [schema.get("additionalProperties")]
        if found == [None]:
            yield f"{place}: not declared"
        elif isinstance(found[0], dict):
            yield from problems(inner, found[0], schemas, place)


def whole(answer, schemas):
    return list(problems(answer, schemas["PredictResponse"], schemas))


def named(answer, schemas):
    """The differences from the schema that `model_type` names, which say more than the union's."""
    targets = schemas["PredictResponse"]["discriminator"]["mapping"]
    return list(problems(answer, {"$ref": targets[answer["model_type"]]}, schemas))


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_field_of_every_template_is_described(schemas, name):
    for kind in TEMPLATES.get(name).answer_kinds:
        schema = schemas[kind.__name__]
        properties = schema["properties"] | schema.get("patternProperties", {})
        described = [properties[p]["description"] for p in properties]
        assert all(described)
        for field in fields_of(kind):
            asked = field.name.replace("NN", "95")
            (found,) = [p for p in properties if re.fullmatch(p.strip("^$"), asked)]
            if field.name not in Prediction.model_fields:
                assert properties[found]["description"].startswith(field.meaning.text)
                assert field.meaning.unit in properties[found]["description"]
            assert (found in schema["required"]) == (not field.is_open)
        assert set(Prediction.model_fields) <= set(schema["required"])


def test_the_union_is_by_model_type_and_complete(schemas):
    union = schemas["PredictResponse"]
    assert union["discriminator"]["propertyName"] == "model_type"
    assert set(union["discriminator"]["mapping"]) == set(TEMPLATES)
    mapped = union["discriminator"]["mapping"]
    assert [{"$ref": target} for target in mapped.values()] == union["oneOf"]
    for name, target in mapped.items():
        whole = schemas[target.removeprefix(PREFIX)]
        assert whole["properties"]["model_type"]["const"] == name


def test_every_reference_leads_somewhere(client):
    document = client.get("/openapi.json")
    targets = re.findall(r'"\$ref":\s*"([^"]+)"', document.text)
    known = document.json()["components"]["schemas"]
    assert {target for target in targets if target.removeprefix(PREFIX) not in known} == set()


def test_asking_twice_gives_the_same_document(client):
    assert client.get("/openapi.json").text == client.get("/openapi.json").text


def test_a_document_without_predictions_stays_as_it_is():
    document = {"components": {"schemas": {"Other": {}}}}
    assert with_answers(document) is document


def test_the_example_of_an_answer_is_one(schemas):
    assert named(examples.ANSWER, schemas) == []
    assert whole(examples.ANSWER, schemas) == []


def test_an_answer_with_another_field_or_without_one_is_none(schemas):
    (symbol,) = examples.ANSWER["predictions"]
    answer = examples.ANSWER["predictions"][symbol]
    more = examples.ANSWER | {"predictions": {symbol: answer | {"mood": "good"}}}
    assert named(more, schemas) == [f"answer.predictions.{symbol}.mood: not declared"]
    less = {name: value for name, value in answer.items() if name != "sigma"}
    without = examples.ANSWER | {"predictions": {symbol: less}}
    assert named(without, schemas) == [f"answer.predictions.{symbol}: no sigma"]
    text = examples.ANSWER | {"predictions": {symbol: answer | {"sigma": "1"}}}
    assert named(text, schemas) == [f"answer.predictions.{symbol}.sigma: 0 of anyOf"]


def test_real_answers_are_as_described(client, post_history, loaded, schemas):
    post_history("AAPL")
    by_symbol = {"model": loaded.model_id, "symbols": ["AAPL", "NONE"]}
    rows = {"model": loaded.model_id, "rows": [[0.1] * len(loaded.contract.feature_names)]}
    for body in (by_symbol, rows):
        answer = client.post("/predict", json=body)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["predictions"]
        assert named(answer.json(), schemas) == []


def test_the_page_for_people_shows_units_and_choices(client):
    page = client.get("/docs").text
    assert '<h3 id="TradingSignalsAnswer">' in page
    assert "EWMA standard deviation of a bar&#x27;s log return; unit: log return" in page
    assert '<a href="#TabularNumberAnswer">' in page
    assert "<code>portfolio_risk</code>" in page
