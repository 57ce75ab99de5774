"""Answer log: what a run of stage `score` hands its answers to, beside the result.

The log of predictions stands above this package (`monitoring.batch_log`), so it is handed in.
"""

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from pipelines.recipes.answering import AnsweredRows


class AnswerLog(Protocol):
    """Keeps the answers to rows; inherit from it."""

    def columns(self, answered: AnsweredRows) -> pl.DataFrame:
        """Return what is kept of a slice, one row per row; called by several threads at once."""
        ...

    def keep(self, first_row: int, slices: Sequence[pl.DataFrame]) -> None:
        """Keep slices that follow each other, before their answers count as given.

        A run that was killed in between hands the same rows over again; they are kept once.
        """
        ...


class NoLog(AnswerLog):
    """Keeps nothing."""

    def columns(self, answered: AnsweredRows) -> pl.DataFrame:
        """Return nothing."""
        return pl.DataFrame()

    def keep(self, first_row: int, slices: Sequence[pl.DataFrame]) -> None:
        """Do nothing."""
