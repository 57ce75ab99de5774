"""Evidence as files: what a validated version decided, held, traded and earned, as Parquet.

Four tables of the out-of-fold predictions, stored in the folder `evidence` of the validation's run:
`returns`, `positions` and `trades` of a template whose answers are actions, and `out_of_fold` of
every template. The first three are laid out as the tools of the trade take them (docs/report.md):
a column of `returns` with its time as the index is a series for quantstats; `positions` and
`trades` are pyfolio's positions and transactions.

Times are those at which a thing was so, never the decision before it: a return stands at the bar
in which the interval from fill to fill begins, or at whose close it ends where fills are closes; a
position at the close of the bar in which it was filled; a trade at the bar of its fill. All are
UTC; the three tables of a strategy have them without a time zone.
"""

import json
from collections.abc import Mapping

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from pipelines.data.bars import TIMESTAMP
from pipelines.data.names import unique_names
from pipelines.method.rows import OutOfFold
from pipelines.method.strategy import Book
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.inputs import kind_of
from pipelines.templates import Arrays, Template
from pipelines.templates.answer_fields import as_json, has_open_fields
from registry.contract import ModelContract
from registry.decoder import Decoder

EVIDENCE_FOLDER = "evidence"
RETURNS, POSITIONS, TRADES, OUT_OF_FOLD = "returns", "positions", "trades", "out_of_fold"
MEANINGS = {
    RETURNS: "simple returns per bar: net, gross, active, benchmark; costs and turnover",
    POSITIONS: "value of each position at the close, in quote currency, and cash",
    TRADES: "each fill: units (negative: sold), price, value, and when it was decided",
    OUT_OF_FOLD: "each prediction: symbol, fold, scores, the answer, and what was realised",
}
CASH = "cash"
MOST_SCORES = 64
"""Scores of a row that are kept; the train run has scenarios (`evidence/out_of_fold.npz`)."""


def evidence_files(
    candidate: Candidate, decoders: Mapping[int, Decoder], book: Book | None
) -> dict[str, pl.DataFrame]:
    """Return name -> table; `out_of_fold` alone where there is no strategy.

    Args:
        decoders: fold -> the decoder fitted on earlier folds only.
    """
    found = {} if book is None else book_files(book, candidate.dataset.data.frame)
    answered = out_of_fold(candidate.recipe.template, candidate.contract, candidate.oof, decoders)
    return found | {OUT_OF_FOLD: answered}


def log_evidence_files(files: Mapping[str, pl.DataFrame]) -> None:
    """Log the tables to the active MLflow run."""
    from tempfile import TemporaryDirectory

    import mlflow

    with TemporaryDirectory() as folder:
        for name, table in files.items():
            table.write_parquet(f"{folder}/{name}.parquet")
        mlflow.log_artifacts(folder, EVIDENCE_FOLDER)


# A strategy ------------------------------------------------------------------------------------


def book_files(book: Book, bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the tables of a strategy.

    Args:
        bars: the frame of the bars that the decisions were filled on.
    """
    times = np.unique(bars["timestamp"].to_physical().to_numpy())
    filled, ended = (_bars_later(times, book.dates, n) for n in (1, 1 if book.at_open else 2))
    returns = pl.DataFrame(
        {
            "timestamp": _times(ended),
            "net": book.net,
            "gross": book.gross,
            "active": book.active,
            "benchmark": book.universe,
            "costs": book.gross - book.net,
            "turnover": book.turnover,
        }
    )
    values = book.positions * book.capital
    held = dict(zip(unique_names(book.symbols, ("timestamp", CASH)), values.T, strict=True))
    cash = {CASH: book.capital - values.sum(axis=1)}
    found = {
        RETURNS: returns,
        POSITIONS: pl.DataFrame({"timestamp": _times(filled)} | held | cash),
        TRADES: _trades(book, bars),
    }
    return {name: _naive(table) for name, table in found.items()}


def _bars_later(times: NDArray[np.int64], dates: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the time of the n-th bar after each date, or of the last bar there is."""
    return times[np.minimum(np.searchsorted(times, dates) + n, len(times) - 1)]


def _trades(book: Book, bars: pl.DataFrame) -> pl.DataFrame:
    """Return a line per change of a position, at the bar of its symbol that filled it."""
    change = np.diff(book.positions, axis=0, prepend=np.zeros((1, len(book.symbols))))
    line, column = np.nonzero(change)
    decided = pl.DataFrame(
        {
            "decided_at": _times(book.dates[line]),
            "symbol": pl.Series(list(book.symbols)).gather(column),
            "value": change[line, column] * book.capital,
        }
    )
    fills = bars.select(
        "symbol",
        pl.col("timestamp"),
        pl.col("open" if book.at_open else "close").alias("price"),
    ).sort("timestamp")
    later = (pl.col("decided_at") + pl.duration(microseconds=1)).alias("after")
    joined = (
        decided.with_columns(later)
        .sort("after")
        .join_asof(
            fills,
            left_on="after",
            right_on="timestamp",
            by="symbol",
            strategy="forward",
            check_sortedness=False,
        )
    )
    amount = (pl.col("value") / pl.col("price")).alias("amount")
    return (
        joined.filter(pl.col("price").is_not_null())
        .with_columns(amount)
        .select("timestamp", "symbol", "amount", "price", "value", "decided_at")
        .sort("timestamp", "symbol")
    )


def _naive(table: pl.DataFrame) -> pl.DataFrame:
    """Return times as UTC without saying so: quantstats compares its own only with such."""
    return table.with_columns(cs.datetime().dt.replace_time_zone(None))


def _times(stamps: NDArray[np.int64]) -> pl.Series:
    return pl.Series(stamps).cast(TIMESTAMP)


# Predictions -----------------------------------------------------------------------------------


def out_of_fold(
    template: Template,
    contract: ModelContract,
    oof: OutOfFold,
    decoders: Mapping[int, Decoder],
) -> pl.DataFrame:
    """Return a line per prediction: when, of what, its scores, the answer, what was realised.

    Each answer is that of its fold's decoder, with the trade lock counted as open. An answer whose
    fields depend on what was asked for is JSON in a column `answer`.
    """
    rows = oof.rows
    names = pl.Series(list(rows.symbols)).gather(rows.symbol.astype(np.uint32))
    known = {
        "timestamp": _times(rows.t0),
        "symbol": names,
        "known_at": _times(rows.t1),
        "fold": oof.fold,
        "realised": rows.y,
    }
    if oof.scores.shape[1] <= MOST_SCORES:
        known |= {f"score_{k}": oof.scores[:, k] for k in range(oof.scores.shape[1])}
    features = kind_of(template).answer_features(rows)
    parts, places = [], []
    for fold in np.unique(oof.fold):
        mine = np.flatnonzero(oof.fold == fold)
        context = {name: values[mine] for name, values in rows.context.items()}
        given = (oof.scores[mine], features[mine], context)
        parts.append(_answers(template, contract, given, decoders[int(fold)]))
        places.append(mine)
    back = np.argsort(np.concatenate(places))
    answers = pl.concat(parts)[back]
    twice = {name: f"answer_{name}" for name in answers.columns if name in known}
    return pl.concat([pl.DataFrame(known), answers.rename(twice)], how="horizontal")


def _answers(
    template: Template,
    contract: ModelContract,
    given: tuple[NDArray[np.float32], NDArray[np.float32], Arrays],
    decoder: Decoder,
) -> pl.DataFrame:
    with np.errstate(all="ignore"):
        if not has_open_fields(template.answer_kinds):
            return template.decode_frame(*given, decoder, contract)
        answers = template.decode(*given, decoder, contract)
    return pl.DataFrame({"answer": [json.dumps(as_json(answer)) for answer in answers]})
