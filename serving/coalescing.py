"""Coalescing: requests that arrive together are computed together.

While the event loop computes, other requests arrive, and it reads them all in its next round. One
model call for what they ask costs little more than one for the first of them. Nobody waits for a
request that is not there: what the round has read is computed when the round ends.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Coalescer(Generic[Question, Answer]):
    """Asks for the answers of all questions of one round of the event loop at once.

    Use it from one event loop only.

    Args:
        compute: takes questions of one kind, at least one, and returns an answer or an error for
            each of the first of them, at least one; the others are asked in the next round.
    """

    def __init__(
        self, compute: Callable[[Sequence[Question]], Sequence[Answer | Exception]]
    ) -> None:
        self._compute = compute
        self._asked: dict[Hashable, list[tuple[Question, asyncio.Future[Answer]]]] = {}

    async def ask(self, kind: Hashable, question: Question) -> Answer:
        """Return the answer to a question, computed with the others of its kind."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if (asked := self._asked.get(kind)) is None:
            asked = self._asked[kind] = []
            loop.call_soon(self._answer, kind)
        asked.append((question, future))
        return await future

    def _answer(self, kind: Hashable) -> None:
        asked = [(q, future) for q, future in self._asked.pop(kind) if not future.done()]
        if not asked:  # every caller has gone
            return
        try:
            answers = self._compute([question for question, _ in asked])
        except Exception as exc:  # each of them raises it
            answers = [exc] * len(asked)
        for (_, future), answer in zip(asked, answers, strict=False):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if later := asked[len(answers) :]:
            self._asked[kind] = later
            asyncio.get_running_loop().call_soon(self._answer, kind)
