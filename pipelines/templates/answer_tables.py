"""The tables of answer fields in docs/templates: made from the dataclasses, never by hand.

`python -m pipelines.templates.answer_tables` says which pages differ (exit code 1 if any does);
with `--write` it rewrites their tables. A test does the same comparison.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pipelines.templates import TEMPLATES, Template
from pipelines.templates.answer_fields import Answer, AnswerField, fields_of, parts_of
from registry.command_line import run

PAGES = Path(__file__).resolve().parents[2] / "docs" / "templates"
START = "<!-- answer fields: python -m pipelines.templates.answer_tables --write -->\n"
END = "<!-- end of answer fields -->\n"
HEADER = "| field | type | unit | meaning | null when |\n|---|---|---|---|---|\n"
NAMES = {float: "number", int: "whole number", str: "text", bool: "true or false"}


def tables(template: Template) -> str:
    """Return the Markdown of a template's answers, a table for each kind."""
    return "\n".join(f"{_first_line(kind)}\n\n{_table(kind)}" for kind in template.answer_kinds)


def with_tables(page: str, template: Template) -> str:
    """Return a page with the text between its two marks made anew."""
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page of {template.name} lacks the marks of its answer fields")
    return f"{before}{START}{tables(template)}{END}{after}"


def main(line: list[str] | None = None) -> int:
    """Compare the pages or rewrite them; return 1 if one differs and was not rewritten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the pages that differ")
    write = parser.parse_args(line).write
    differing = []
    for name in TEMPLATES:
        path = PAGES / f"{name}.md"
        page = path.read_text()
        made = with_tables(page, TEMPLATES.get(name))
        if made != page:
            differing.append(path.name)
            if write:
                path.write_text(made)
    if differing:
        print(f"{'written' if write else 'out of date'}: {', '.join(differing)}")
    return int(bool(differing) and not write)


def _table(kind: type[Answer]) -> str:
    return HEADER + "".join(f"{row}\n" for row in _rows(kind, ""))


def _rows(kind: type[Answer], prefix: str) -> Iterator[str]:
    for field in fields_of(kind):
        yield _row(field, prefix)
        for part in parts_of(field.type):
            yield from _rows(part, f"{prefix}{field.name}.")


def _row(field: AnswerField, prefix: str) -> str:
    said = field.meaning
    text = f"{said.text} (only if asked for)" if field.is_open else said.text
    cells = (f"`{prefix}{field.name}`", _type(field.type), said.unit, text, said.null)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(annotation: Any) -> str:
    """Return a field's type in words, without null, which has a column of its own."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(choice) for choice in arguments if choice is not NoneType)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is not None:
        return f"object: name to {_type(arguments[1])}"
    return NAMES.get(annotation, "object")


def _first_line(kind: type[Answer]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    run(main)
