"""Schemas of answers: OpenAPI's union of the answers of all templates, from their dataclasses.

An answer is one of as many shapes as there are templates; its `model_type` says which. Nothing here
runs when a prediction is answered.
"""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pipelines.templates import TEMPLATES, Template
from pipelines.templates.answer_fields import Answer, AnswerField, Meaning, fields_of, parts_of
from serving.forms import FORMS
from serving.schemas import Prediction

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"
RESPONSE = "PredictResponse"
PLAIN = {float: "number", int: "integer", str: "string", bool: "boolean", NoneType: "null"}
LEVEL = r"[5-9]\d(\.\d{1,2})?"


def with_answers(document: Schema) -> Schema:
    """Return an OpenAPI document in which `PredictResponse` is a union by `model_type`."""
    schemas = dict(document["components"]["schemas"])
    if RESPONSE not in schemas:
        return document
    named = {name: f"{_title(name)}Response" for name in TEMPLATES}
    for name, title in named.items():
        schemas |= _definitions(TEMPLATES.get(name), title)
    refs = {name: REF.format(model=title) for name, title in named.items()}
    whole = schemas[RESPONSE]
    schemas[RESPONSE] = {
        "title": RESPONSE,
        "description": whole["description"],
        "examples": whole["examples"],
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "model_type", "mapping": refs},
    }
    return document | {"components": document["components"] | {"schemas": schemas}}


def schema_of(annotation: Any) -> Schema:
    """Return the JSON schema of a field's type; a dataclass is named by reference."""
    if annotation in PLAIN:
        return {"type": PLAIN[annotation]}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(choice) for choice in arguments]}
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is None:
        return {"$ref": REF.format(model=annotation.__name__)}
    return {"type": "object", "additionalProperties": schema_of(arguments[1])}


def told(meaning: Meaning) -> str:
    """Return meaning, unit and the rule for null in one line."""
    unit = f"; unit: {meaning.unit}" if meaning.unit else ""
    return f"{meaning.text}{unit}{f'; null: {meaning.null}' if meaning.null else ''}"


def _definitions(template: Template, title: str) -> Schema:
    """Return the named schemas of one template: the whole answer, each kind, and their parts."""
    whole = FORMS.get(template.inputs).response.model_json_schema(
        mode="serialization", ref_template=REF
    )
    definitions: Schema = whole.pop("$defs", {})
    whole.pop("examples")  # of the union
    kinds = [{"$ref": REF.format(model=kind.__name__)} for kind in template.answer_kinds]
    answers = kinds[0] if len(kinds) == 1 else {"oneOf": kinds}
    properties = whole["properties"]
    properties["model_type"] = {"type": "string", "const": template.name}
    properties["predictions"] = properties["predictions"] | {"additionalProperties": answers}
    definitions[title] = whole | {"title": title}
    shared = Prediction.model_json_schema(mode="serialization")
    for kind in template.answer_kinds:
        own = _object(kind)
        definitions[kind.__name__] = own | {
            "properties": own["properties"] | shared["properties"],
            "required": list(dict.fromkeys([*own["required"], *shared["required"]])),
        }
        definitions |= {part.__name__: _object(part) for part in _parts(kind)}
    return definitions


def _parts(kind: type[Answer]) -> Iterator[type[Answer]]:
    for field in fields_of(kind):
        for part in parts_of(field.type):
            yield part
            yield from _parts(part)


def _object(kind: type[Answer]) -> Schema:
    fields = fields_of(kind)
    schema: Schema = {
        "title": kind.__name__,
        "type": "object",
        "description": (kind.__doc__ or "").strip(),
        "properties": {f.name: _described(f) for f in fields if not f.name.endswith("_NN")},
        "required": [field.name for field in fields if not field.is_open],
    }
    levelled = {_pattern(f.name): _described(f) for f in fields if f.name.endswith("_NN")}
    return schema | ({"patternProperties": levelled} if levelled else {})


def _described(field: AnswerField) -> Schema:
    return schema_of(field.type) | {"description": told(field.meaning)}


def _pattern(name: str) -> str:
    return f"^{name.removesuffix('NN')}{LEVEL}$"


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
