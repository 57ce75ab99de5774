"""Small data of every kind of input, for tests that run over the kinds or over the templates."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.parameters import SourceParameters

N_LINES = 240


def _table(folder: Path, regression: bool) -> tuple[SourceParameters, dict]:
    """Lines with numbers, a category and a target that depends on them."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, N_LINES))
    colour = rng.choice(["red", "green", "blue"], N_LINES)
    value = first - 0.5 * (colour == "red") + 0.3 * rng.normal(size=N_LINES)
    frame = pl.DataFrame(
        {
            "time": np.datetime64("2020-01-01") + np.arange(N_LINES).astype("timedelta64[D]"),
            "first": first,
            "second": second,
            "colour": colour,
            "target": value if regression else np.where(value > 0, "yes", "no"),
        }
    )
    path = folder / f"table-{regression}.csv"
    frame.write_csv(path)
    return SourceParameters(source="files", path=str(path)), {"target": "target"}


def _texts(folder: Path, _regression: bool) -> tuple[SourceParameters, dict]:
    """Headlines with labels."""
    rng = np.random.default_rng(6)
    words = {
        "negative": ("shares plunge", "profit warning", "impairment hits earnings"),
        "neutral": ("board meets on tuesday", "annual meeting dated", "agenda published"),
        "positive": ("record profit", "shares surge", "guidance raised strongly"),
    }
    labels = rng.choice(list(words), N_LINES)
    frame = pl.DataFrame(
        {
            "time": np.datetime64("2020-01-01") + np.arange(N_LINES).astype("timedelta64[D]"),
            "text": [
                f"{rng.choice(words[name])} says firm {i % 9}" for i, name in enumerate(labels)
            ],
            "label": labels,
        }
    )
    path = folder / "texts.csv"
    frame.write_csv(path)
    return SourceParameters(source="files", path=str(path)), {}


def _bars(symbols: str) -> Callable[[Path, bool], tuple[SourceParameters, dict]]:
    """Synthetic bars of three years."""
    source = SourceParameters(source="synthetic", symbols=symbols, end="2002-12-31")
    return lambda _folder, _regression: (source, {})


SMALL_DATA = {
    "bars": _bars("AAA,BBB"),
    "portfolio": _bars("AAA,BBB,CCC"),
    "table": _table,
    "texts": _texts,
}
"""Kind of input -> (folder to write to, whether a target is a number) -> where the data are, and
the options that a template needs to read them."""
