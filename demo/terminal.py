"""The demo's lines on a terminal: none is wider than a window, none is cut off."""

from collections.abc import Sequence
from textwrap import fill

WIDTH = 100
HANGING = 8
"""Further lines of one text begin below what follows `passed  ` or `refused `."""


def say(text: str, indent: int = 2) -> None:
    """Print a text, wrapped, at an indent that adds to its own."""
    own = len(text) - len(text.lstrip())
    margin = " " * (indent + own)
    print(
        fill(
            text.strip(),
            WIDTH,
            initial_indent=margin,
            subsequent_indent=margin + " " * HANGING,
            break_long_words=False,
            break_on_hyphens=False,
        ),
        flush=True,
    )


def show_command(line: Sequence[str], parameters: Sequence[str]) -> None:
    """Print a command as it can be pasted, its parameters on a line of their own."""
    print(f"  $ {' '.join(line)} \\\n      {' '.join(parameters)}", flush=True)
