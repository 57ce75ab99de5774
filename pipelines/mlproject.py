"""The file MLproject, written from the stages' parameter classes (`make mlproject`).

`ENTRY_POINTS` names every entry point and the module that it runs; the module's `GROUPS` are the
classes of its parameters. An entry point of MLproject cannot refer to another's parameters, so the
text repeats them; a test holds the file to what `render` returns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from registry.command_line import run

ENTRY_POINTS = {
    "main": "pipelines.main",
    "train": "pipelines.train",
    "validate": "pipelines.validate",
    "convert": "pipelines.convert",
    "replay": "pipelines.replay",
    "tune": "pipelines.tune",
    "score": "monitoring.score",
    "synthesize": "pipelines.synthesize",
    "drift": "monitoring.drift",
    "schedule": "monitoring.schedule",
    "refit": "monitoring.refits",
    "advance": "monitoring.retraining",
}
"""Names, not imports: monitoring stands above this package."""

FILE = Path(__file__).resolve().parents[1] / "MLproject"
HEAD = """\
# Written by `make mlproject` from the parameter classes (pipelines/mlproject.py); never by hand.
# `--help` after the command of an entry point explains its parameters. Whole numbers are declared
# float, MLflow's only number. Run with `--env-manager local` from the project's environment.
name: nautilus-ml-engine

conda_env: conda.yaml

entry_points:
"""


def render() -> str:
    """Return the text of MLproject; the same classes give the same bytes."""
    return HEAD + "\n".join(_entry_point(name, ENTRY_POINTS[name]) for name in ENTRY_POINTS)


def groups_of(module: str) -> tuple[type[Any], ...]:
    """Return the parameter classes of a stage."""
    return tuple(import_module(module).GROUPS)


def _entry_point(name: str, module: str) -> str:
    parameters = [item for group in groups_of(module) for item in fields(group)]
    return "".join(f"{line}\n" for line in (f"  {name}:", *_lines(module, parameters)))


def _lines(module: str, parameters: Sequence[Field[Any]]) -> Iterator[str]:
    if not parameters:
        yield f"    command: python -m {module}"
        return
    yield "    parameters:"
    yield from (f"      {item.name}: {_declared(item)}" for item in parameters)
    yield "    command: >-"
    yield f"      python -m {module}"
    yield from (f"      --{item.name} {{{item.name}}}" for item in parameters)


def _declared(item: Field[Any]) -> str:
    """Return type and default of a parameter as MLproject writes them."""
    assert item.default is not MISSING, f"parameter {item.name} has no default"
    if item.type in (int, float):
        return f"{{type: float, default: {item.default}}}"
    text = str(item.default).lower() if item.type is bool else item.default
    return f'{{type: string, default: "{text}"}}'


if __name__ == "__main__":
    run(lambda: FILE.write_text(render()) and None)
