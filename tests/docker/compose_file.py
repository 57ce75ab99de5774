"""docker/compose.yaml as Compose reads it, as far as the tests need: variables and merged keys."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}")


class MissingVariableError(Exception):
    """Compose would not start: a variable that must be set is not."""


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the file with its variables filled in."""
    return _filled(yaml.safe_load(COMPOSE.read_text()), variables)


def required_variables() -> set[str]:
    """Return the names that the file refuses to start without."""
    found = _VARIABLE.finditer(COMPOSE.read_text())
    return {match[1] for match in found if match[2] == ":?"}


def with_default() -> dict[str, str]:
    """Return name -> default of the variables that need not be set."""
    found = _VARIABLE.finditer(COMPOSE.read_text())
    return {match[1]: match[3] for match in found if match[2] == ":-"}


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        if given := variables.get(name):
            return given
        if kind == ":-":
            return str(rest)
        raise MissingVariableError(f"{name}: {rest}")

    return _VARIABLE.sub(fill, value)
