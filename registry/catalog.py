"""Catalog: the one mechanism behind every extension point.

A catalog maps a name to an import string (`"package.module:attribute"`), so that listing names
costs no import and an implementation's heavy libraries load only when it is asked for. Other
distributions add names through the entry-point group the catalog names.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from registry.errors import UnknownNameError

T = TypeVar("T")


class Catalog(Generic[T]):
    """Implementations by name, each imported on first use.

    Args:
        noun: What an implementation is called in an error ("template").
        imports: Name -> `"module:attribute"`; the attribute is the implementation itself.

    Names from the entry-point group `nautilus_ml_engine.<noun>` are added; built-in names win.
    """

    def __init__(self, noun: str, imports: Mapping[str, str]) -> None:
        self.noun = noun
        self._builtin = dict(imports)
        self._resolved: dict[str, T] = {}

    @cached_property
    def _imports(self) -> dict[str, str]:
        group = f"nautilus_ml_engine.{self.noun.replace(' ', '_')}"
        return {p.name: p.value for p in entry_points(group=group)} | self._builtin

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._imports))

    def __contains__(self, name: object) -> bool:
        return name in self._imports

    def get(self, name: str) -> T:
        """Return the implementation called `name`.

        Raises:
            UnknownNameError: no entry has this name.
            ImportError: the entry's module, or something it imports, is missing.
        """
        if name not in self._resolved:
            if name not in self._imports:
                raise UnknownNameError(self.noun, name, self._imports)
            module, _, attribute = self._imports[name].partition(":")
            self._resolved[name] = cast(T, getattr(import_module(module), attribute))
        return self._resolved[name]
