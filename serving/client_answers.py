"""The client's types of answers, written from OpenAPI: `python -m serving.client_answers`.

`client/nautilus_ml_client/answers.py` has a pydantic class for everything that a route answers with
2xx, the classes of each template's answers, and the keywords of a recipe. A test compares the file
with what this module writes, so it follows the server's classes and cannot drift from them.
"""

import keyword
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from fastapi import FastAPI

from pipelines.templates import TEMPLATES
from registry.command_line import run
from serving.answer_schemas import RESPONSE
from serving.route_table import built, openapi_of
from serving.routes import ROUTES

FILE = Path(__file__).parents[1] / "client" / "nautilus_ml_client" / "answers.py"
Schema = dict[str, Any]

PLAIN = {
    "number": "float",
    "integer": "int",
    "string": "str",
    "boolean": "bool",
    "null": "None",
}
REQUESTS = ("Recipe", "SearchRequest")
"""Bodies whose fields are keywords of the client's calls."""
WIDTH = 92
HEAD = '''"""Answers of the server, and the keywords of a recipe.

Written by `python -m serving.client_answers`, not by hand. Names that a newer server adds to a
`Literal` come through as text.
"""

from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import Field

from nautilus_ml_client.answer import Answer

'''


def main() -> None:
    """Write the file."""
    FILE.write_text(source(document()))


def document() -> Schema:
    """Return the OpenAPI document of every route."""
    routes = built(ROUTES)
    return openapi_of(FastAPI(routes=routes, openapi_url=None, docs_url=None, redoc_url=None))


def source(openapi: Schema) -> str:
    """Return the text of the file.

    Raises:
        ValueError: two classes of answers have one name.
    """
    schemas = openapi["components"]["schemas"]
    names = sorted({*_told(openapi), *_templates(schemas)})
    if twice := [name for name in names if "__" in name]:
        raise ValueError(f"two classes of answers have one name: {', '.join(twice)}")
    text = HEAD + "".join(_typed_dict(name, schemas[name]) for name in REQUESTS)
    text += "".join(_class(name, schemas[name]) for name in _in_order(names, schemas))
    return _formatted(text + _by_template(schemas))


def _told(openapi: Schema) -> Iterator[str]:
    """Yield the names of what the routes answer with 2xx, and of all that these are made of."""
    for methods in openapi["paths"].values():
        for operation in methods.values():
            answers = [a for status, a in operation["responses"].items() if status < "300"]
            yield from _reachable(answers, openapi["components"]["schemas"])


def _templates(schemas: Schema) -> Iterator[str]:
    for name in TEMPLATES:
        properties = schemas[response_of(name)]["properties"]
        yield from _reachable(list(properties.values()), schemas)


def response_of(template: str) -> str:
    """Return the schema's name of a template's whole answer."""
    return "".join(part.capitalize() for part in template.split("_")) + "Response"


def _reachable(node: Any, schemas: Schema) -> Iterator[str]:
    for name in _refs(node):
        if name != RESPONSE:
            yield name
            yield from _reachable(schemas[name], schemas)


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(ref := node.get("$ref"), str):
            yield ref.rpartition("/")[2]
        for value in node.values():
            yield from _refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _in_order(names: Sequence[str], schemas: Schema) -> list[str]:
    """Return the names so that each stands after those it refers to."""
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        for part in sorted(set(_refs(schemas[name]))):
            add(part)
        ordered.append(name)

    for name in names:
        add(name)
    return ordered


def _class(name: str, schema: Schema) -> str:
    required = schema.get("required", [])
    described = schema["description"]
    if opened := schema.get("patternProperties"):
        known = ", ".join(pattern.strip("^$").partition("[")[0] + "NN" for pattern in opened)
        described += f'\n\nMeasures with a level, as `answer["var_95"]`: {known}.'
    lines = [f"\n\nclass {name}(Answer):", _docstring(described, "    "), ""]
    for field, kind in schema["properties"].items():
        lines.append(f"    {_field(field, kind, field in required)}")
        if told := kind.get("description"):
            lines.append(_docstring(told, "    "))
    return "\n".join(lines) + "\n"


def _field(name: str, schema: Schema, is_required: bool) -> str:
    plain = f"{name}_" if keyword.iskeyword(name) else name
    options = [f'alias="{name}"'] if plain != name else []
    kind = annotation(schema)
    if not is_required:
        default = schema.get("default")
        if isinstance(default, dict | list):
            options.append(f"default_factory={type(default).__name__}")
        elif options:
            options.append(f"default={default!r}")
        else:
            return f"{plain}: {kind if default is not None else _optional(kind)} = {default!r}"
    return f"{plain}: {kind}" + (f" = Field({', '.join(options)})" if options else "")


def _optional(kind: str) -> str:
    return kind if kind.endswith("None") or kind == "Any" else f"{kind} | None"


def _typed_dict(name: str, schema: Schema) -> str:
    told = _docstring(schema["description"], "    ")
    lines = [f"\n\nclass {name}(TypedDict, total=False):", told]
    for field, described in schema["properties"].items():
        kind = annotation({"anyOf": [c for c in described["anyOf"] if c.get("type") != "null"]})
        lines += ["", f"    {field}: {kind}", _docstring(described["description"], "    ")]
    return "\n".join(lines) + "\n"


def annotation(schema: Schema) -> str:
    """Return the Python type of a schema, as it is written in the file."""
    if ref := schema.get("$ref"):
        return str(ref).rpartition("/")[2]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(annotation(choice) for choice in choices))
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}] | str"
    kind = schema.get("type")
    if kind == "array":
        return _array(schema)
    if kind == "object":
        inner = schema.get("additionalProperties", True)
        return f"dict[str, {annotation(inner) if isinstance(inner, dict) else 'Any'}]"
    if kind is None:
        return "Any"
    return "datetime" if schema.get("format") == "date-time" else PLAIN[kind]


def _array(schema: Schema) -> str:
    if parts := schema.get("prefixItems"):
        return f"tuple[{', '.join(annotation(part) for part in parts)}]"
    return f"list[{annotation(schema.get('items', {}))}]"


def _by_template(schemas: Schema) -> str:
    """Return the mapping from a template's name to the type of its answers."""
    lines = []
    for name in TEMPLATES:
        predictions = schemas[response_of(name)]["properties"]["predictions"]
        lines.append(f'    "{name}": {annotation(predictions["additionalProperties"])},')
    told = '"""Template -> type of its answers."""'
    return "\n\nANSWER_TYPES: dict[str, Any] = {\n" + "\n".join(lines) + f"\n}}\n{told}\n"


def _docstring(text: str, indent: str) -> str:
    first, *others = re.split(r"\n\n+", text.strip())
    if re.match(r"[a-z]+( |$)", first):
        first = first[0].upper() + first[1:]
    parts = [_wrapped(first), *(_wrapped(other) for other in others)]
    if not re.search(r"[.:!?]$", first):
        parts[0] += "."
    body = "\n\n".join(parts)
    end = "\n" if "\n" in body else ""
    return "\n".join(f"{indent}{line}".rstrip() for line in f'"""{body}{end}"""'.split("\n"))


def _wrapped(text: str) -> str:
    return "\n".join(wrap(" ".join(text.split()), WIDTH, break_long_words=False))


def _formatted(text: str) -> str:
    """Return the text as the project's formatter writes it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FILE), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    run(main)
