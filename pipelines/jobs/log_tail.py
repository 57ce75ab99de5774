"""The last lines of a job's output, short enough for a row of the database, without secrets."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_LINES = 20
MAX_LINE_CHARS = 400
MAX_BYTES = 16_000
"""Bytes at the end of the output that are looked at."""
HIDDEN = "***"
SECRET_NAMES = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.I)
SHORTEST_SECRET = 6
"""Shorter values (`false`, `1`) stand in every text."""
SECRET_SHAPES = (
    re.compile(r"(?<=://)\S*(?=@)"),  # user and password of an address; it may hold / and @
    re.compile(r"(?<=[Bb]earer )\S+"),
    re.compile(r"\b[0-9a-f]{12}\.[A-Za-z0-9_\-]{43}"),  # our own keys
)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
"""Colours and movements of a terminal, and letters that a database may not hold."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is replaced in every text that leaves a run: texts, each with what stands for it."""

    replaced: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str], folders: Mapping[str, Path]) -> "Redaction":
        """Hide the secrets of an environment, and show folders by their names."""
        secrets = {secret for item in environment.items() for secret in _secrets(*item)}
        hidden = [(secret, HIDDEN) for secret in sorted(secrets, key=len, reverse=True)]
        return cls((*hidden, *((str(path), name) for name, path in folders.items())))

    def apply(self, text: str) -> str:
        """Return the text without secrets."""
        for found, shown in self.replaced:
            text = text.replace(found, shown)
        for shape in SECRET_SHAPES:
            text = shape.sub(HIDDEN, text)
        return text

    def within(self, value: Any) -> Any:
        """Return a JSON value whose texts have no secrets, and whose numbers are all finite."""
        if isinstance(value, str):
            return CONTROL.sub("", self.apply(value))
        if isinstance(value, Mapping):
            return {str(name): self.within(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.within(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value


class LogTail:
    """The end of one output file, from where it ended when this attempt began."""

    def __init__(self, path: Path, redaction: Redaction) -> None:
        self._path, self._redaction = path, redaction
        self._start = path.stat().st_size if path.exists() else 0

    def read(self) -> str:
        """Return at most `MAX_LINES` lines; empty while nothing was written.

        Of a line that was drawn over (a bar), what stands there last counts.
        """
        try:
            with self._path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                start = max(self._start, size - MAX_BYTES)
                log.seek(start)
                text = log.read(MAX_BYTES).decode(errors="replace")
        except OSError:
            return ""
        lines = text.split("\n")
        if start > self._start:  # the first line is cut, perhaps within a secret
            lines = lines[1:]
        clean = (self._clean(line) for line in lines)
        return "\n".join([line for line in clean if line][-MAX_LINES:])

    def _clean(self, line: str) -> str:
        last = line.rstrip("\r").rpartition("\r")[2]
        shown = self._redaction.apply(CONTROL.sub("", last)).rstrip()
        return shown if len(shown) <= MAX_LINE_CHARS else f"{shown[:MAX_LINE_CHARS]}..."


def _secrets(name: str, value: str) -> list[str]:
    """Return what of a variable must not be shown: all of it, or the password of an address."""
    found = [value, *value.splitlines()] if SECRET_NAMES.search(name) else []
    if "://" in value:
        try:
            password = urlsplit(value).password or ""
        except ValueError:
            password = value
        found += [password, unquote(password)]
    return [secret for secret in found if len(secret) >= SHORTEST_SECRET]
