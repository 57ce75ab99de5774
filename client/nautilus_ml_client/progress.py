"""A progress bar of a job on standard error, drawn with nothing but text.

On a terminal and in a notebook one line is drawn over; elsewhere, such as in the log of a nightly
run, each new stage gets a line of its own.
"""

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

WIDTH = 24
LONGEST_STAGE = 40


class Progressing(Protocol):
    """What is drawn of a job."""

    @property
    def state(self) -> str: ...

    @property
    def entry_point(self) -> str: ...

    @property
    def stage(self) -> str | None: ...

    @property
    def progress(self) -> float | None: ...

    @property
    def eta_seconds(self) -> float | None: ...


class ProgressBar:
    """Draws the state of one job; a context manager that ends the line."""

    def __init__(self, is_drawn: bool = True, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_drawn = is_drawn
        self._is_over = self._stream.isatty() or "ipykernel" in sys.modules
        self._last, self._n_chars = "", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._n_chars:
            self._stream.write("\n")
            self._stream.flush()

    def show(self, job: Progressing) -> None:
        """Draw a job as it is now, if anything has changed."""
        line = line_of(job) if self._is_over else _stage_of(job)
        if not self._is_drawn or line == self._last:
            return
        self._last = line
        if self._is_over:
            self._stream.write("\r" + line.ljust(self._n_chars))
            self._n_chars = max(self._n_chars, len(line))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def line_of(job: Progressing) -> str:
    """Return one line: the bar, the percentage, the stage and the time left."""
    share = min(1.0, max(0.0, job.progress or 0.0))
    n_full = int(share * WIDTH)
    drawn = "#" * n_full + "." * (WIDTH - n_full)
    left = "" if job.eta_seconds is None else f", {_duration(job.eta_seconds)} left"
    return f"[{drawn}] {share:4.0%} {_stage_of(job)}{left}"


def _stage_of(job: Progressing) -> str:
    stage = job.stage if job.state == "leased" and job.stage else job.state
    plain = "".join(letter for letter in stage if letter.isprintable())
    return f"{job.entry_point}: {plain[:LONGEST_STAGE]}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
