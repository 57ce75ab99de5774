"""Server-sent events: bytes in, events out (HTML Living Standard, section 9.2)."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `id` is the last one that the stream has named."""

    kind: str
    data: str
    id: str


class EventParser:
    """Turns the pieces of one stream into events, wherever the pieces are cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._kind, self._data, self._id = "", list[str](), ""

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Yield the events that end within this piece."""
        text = self._rest + self._decoder.decode(piece)
        half = "\r" if text.endswith("\r") else ""  # perhaps of a line end that was cut in two
        text = text.removesuffix(half)
        *lines, self._rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest += half
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._ended()) is not None:
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value

    def _ended(self) -> ServerEvent | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data = "", []
        return ServerEvent(kind, "\n".join(data), self._id) if data else None
