"""Source `files`: bars from CSV and Parquet files, however they are laid out.

One file, a folder or a glob; many symbols in one file (a symbol column) or one per file (the
file's name). Reading goes file -> table (`tables`) -> columns and numbers (`columns`) -> times in
UTC (`times`) -> checked bars. Each step raises one line that names file, row or column, what was
found and what to do; what policy `repair` changed is a line in `Bars.repairs`.

Times are taken as the file labels its bars. Bid and ask become mid prices and, at the close, the
spread as a fraction of the mid.
"""

import glob
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import polars as pl

from pipelines.data.bar_rules import Ledger
from pipelines.data.bars import (
    Bars,
    canonical_interval,
    check_bars,
    infer_interval,
    is_same_interval,
)
from pipelines.data.sources import BarQuery
from pipelines.data.sources.columns import NUMBERS, QUOTE_PRICES, find_columns
from pipelines.data.sources.epochs import since_midnight
from pipelines.data.sources.file_names import side_of, symbols_of
from pipelines.data.sources.joins import FilePart, check_one_interval, join_sides
from pipelines.data.sources.marks import notes_of
from pipelines.data.sources.number_texts import decimal_sign, read_number
from pipelines.data.sources.tables import (
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    Table,
    read_table,
    symbol_of,
)
from pipelines.data.sources.times import TimeColumn, parse_times, to_utc
from pipelines.data.sources.wide import split_symbols
from registry.errors import BarsError, ParameterError, UnknownSymbolError


class Files:
    """CSV and Parquet files."""

    name = "files"

    def read(self, query: BarQuery) -> Bars:
        """Return the bars of all files that `path` names.

        A single file without a symbol column is the one symbol asked for, or is called like the
        file. The price basis is `mid` for bid and ask, `adjusted` where the closes are adjusted
        ones, `raw` where the file holds adjusted closes too but they were not asked for, else
        `unknown`. The note says where a file is marked as synthetic
        (`pipelines.data.sources.marks`).
        """
        whole = self.gathered(query)
        bars = _with_interval(whole, query.interval).between(query.start, query.end)
        if bars.frame.is_empty():
            times = whole.frame["timestamp"].sort()
            held = f"it has {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}"
            where = _where(paths_of(query.path), query)
            raise BarsError("there are no bars in the time asked for", where, held)
        return bars

    def gathered(self, query: BarQuery) -> Bars:
        """Return the bars of all files as `read` does, however far apart; `interval` is empty."""
        paths = paths_of(query.path)
        parts = [part for path, name in _named(paths, query) for part in _read(path, name, query)]
        where = _where(paths, query)
        ledger = Ledger(where, query.policy)
        check_one_interval(parts)
        parts = join_sides(parts, ledger)
        bases = {part.basis for part in parts}
        frame, lines_of_all = check_bars(
            _wanted([part.frame for part in parts], query, where),
            policy=query.policy,
            where=where,
            adjustments=query.adjustments,
        )
        basis = bases.pop() if len(bases) == 1 else "unknown"
        repairs = [line for part in parts for line in part.lines] + ledger.lines
        return Bars(frame, "", basis, self.name, notes_of(paths), (*repairs, *lines_of_all))


def _where(paths: list[Path], query: BarQuery) -> str:
    return paths[0].name if len(paths) == 1 else str(query.path)


def paths_of(path: Path | None) -> list[Path]:
    """Return the files that a path, folder or glob names, in alphabetical order.

    Raises:
        ParameterError: no path, or nothing there.
    """
    if path is None:
        raise ParameterError("path", None, "a file, folder or glob of CSV or Parquet files")
    suffixes = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.name.lower().endswith(suffixes)]
    elif path.exists():
        found = [path]
    else:
        found = [Path(p) for p in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - absolute globs
        found = [p for p in found if p.is_file()]
    if not found:
        raise ParameterError("path", str(path), "an existing file, or a folder or glob with files")
    return sorted(found)


def _named(paths: list[Path], query: BarQuery) -> list[tuple[Path, str]]:
    """Return the files with their symbols; a single one is called as `symbols` says.

    So are all where they hold one symbol and none is called like the one asked for.
    """
    names = symbols_of(paths)
    for path in paths:
        names[path] = symbol_of(path) if symbol_of(path) in query.symbols else names[path]
    if len(query.symbols) == 1 == len(set(names.values())):
        names = dict.fromkeys(paths, query.symbols[0])
    return list(names.items())


def _read(path: Path, symbol: str, query: BarQuery) -> list[FilePart]:
    """Return the checked bars of a file; a part per symbol where its header names them."""
    parts = split_symbols(read_table(path, query.policy))
    return [_part(path, name or symbol, table, query) for name, table in parts]


def _part(path: Path, symbol: str, table: Table, query: BarQuery) -> FilePart:
    ledger = Ledger(table.where, query.policy)
    for note in table.notes:
        ledger.note(note)
    columns = find_columns(table, query.columns, ledger)
    times = _times(table, columns, query.date_order)
    for note in times.notes:
        ledger.note(note)
    names = [name for name in NUMBERS if name in columns]
    sign = decimal_sign(table.frame[columns[name]] for name in names)
    frame = table.frame.select(
        table.rows.alias("row"),
        (
            pl.col(columns["symbol"]).cast(pl.String) if "symbol" in columns else pl.lit(symbol)
        ).alias("symbol"),
        times.values.alias("timestamp"),
    ).with_columns(
        read_number(table, columns[name], name, sign, ledger).alias(name) for name in names
    )
    frame = _oldest_first(frame, ledger)
    if times.is_naive:
        frame = _localised(frame, query.timezone, ledger)
    prices, basis = _prices(frame, query.columns, ledger)
    side = "" if basis == "mid" else side_of(path)
    frame, lines = check_bars(prices, policy=query.policy, where=table.where, is_history=False)
    return FilePart(table.where, frame, basis, side, (*ledger.lines, *lines))


def _oldest_first(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Turn a file around whose rows are newest first in every symbol, as a whole."""
    steps = frame.select(pl.col("timestamp").diff().over("symbol").drop_nulls()).to_series()
    if not len(steps) or steps.max() > timedelta() or steps.min() >= timedelta():  # type: ignore[operator]
        return frame
    ledger.note("its rows are newest first: read from the end")
    return frame.reverse()


def _times(table: Table, columns: Mapping[str, str], date_order: str) -> TimeColumn:
    if "timestamp" not in columns and {"date", "time"} <= set(columns):
        clock = _padded(table.frame[columns["time"]].cast(pl.String))
        is_whole = clock.str.contains(r"^\d{4}-\d\d-\d\d[ T]").all()  # date and time of day
        day = table.frame[columns["date"]].cast(pl.String)
        column = clock if is_whole else day + " " + clock
    else:
        name = next(columns[c] for c in ("timestamp", "date", "time") if c in columns)
        column = table.frame[name]
    of_day = since_midnight(column, table.where)
    return parse_times(column if of_day is None else of_day, table.rows, table.where, date_order)


def _padded(clock: pl.Series) -> pl.Series:
    """Return times of day with the zeros that a number loses: 93000 is 09:30:00."""
    if clock.drop_nulls().str.contains(r"^\d{1,6}$").all():
        return clock.str.zfill(6 if (clock.str.len_chars().max() or 0) > 4 else 4)  # type: ignore[operator]
    return clock


def _localised(frame: pl.DataFrame, timezone: str, ledger: Ledger) -> pl.DataFrame:
    utc, skipped, n_repeated = to_utc(frame, timezone)
    if not skipped.is_empty():
        row, stamp = skipped["row"][0], skipped["timestamp"][0]
        problem = f"row {row}: {stamp:%Y-%m-%d %H:%M} does not exist in {timezone} (clocks skip it)"
        ledger.repair(
            problem,
            "give the file's own timezone=",
            f"removed {len(skipped)} rows, first {problem}",
            f"row {row}: its time does not exist in {timezone} (clocks skip it)",
        )
    if n_repeated:
        ledger.note(
            f"{n_repeated} times in an hour that {timezone} repeats: taken as daylight "
            "time before the clock goes back in the rows, else as standard time"
        )
    return utc


def _prices(
    frame: pl.DataFrame, mapping: Mapping[str, str], ledger: Ledger
) -> tuple[pl.DataFrame, str]:
    """Return the frame with our price columns, and its price basis."""
    have = set(frame.columns)
    if {"bid_close", "ask_close"} <= have:
        return _mid(frame), "mid"
    if "adj_close" not in have:
        return frame, "raw" if "adj_open" in have else "unknown"
    if "close" not in have:
        return frame.drop("close", strict=False).rename({"adj_close": "close"}), "adjusted"
    if "adj_close" not in mapping and "adj_open" not in have:
        ledger.note(
            "adjusted closes are there but not used; columns=adj_close=NAME adjusts every price"
        )
        return frame, "raw"
    if "adj_open" in have:
        ledger.note("the adjusted prices are used; columns=adj_close=none reads the others")
    factor = pl.col("adj_close") / pl.col("close")
    adjusted = [
        (pl.col(f"adj_{p}") if f"adj_{p}" in have else pl.col(p) * factor).alias(p)
        for p in (*QUOTE_PRICES, "vwap")
        if p in have or f"adj_{p}" in have
    ]
    if {"adj_open", "adj_volume"} <= have:
        adjusted.append(pl.col("adj_volume").alias("volume"))
    return frame.with_columns(adjusted), "adjusted"


def _mid(frame: pl.DataFrame) -> pl.DataFrame:
    sides = {
        p: (pl.col(f"bid_{p}"), pl.col(f"ask_{p}"))
        for p in QUOTE_PRICES
        if {f"bid_{p}", f"ask_{p}"} <= set(frame.columns)
    }
    mids = [((bid + ask) / 2).alias(p) for p, (bid, ask) in sides.items()]
    bid, ask = sides["close"]
    return frame.with_columns(*mids, ((ask - bid) * 2 / (ask + bid)).alias("spread"))


def _wanted(parts: list[pl.DataFrame], query: BarQuery, where: str) -> pl.DataFrame:
    frame = pl.concat(parts)
    known = frame["symbol"].unique().to_list()
    for symbol in query.symbols:
        if symbol not in known:
            raise UnknownSymbolError(symbol, where, known)
    if query.symbols:
        frame = frame.filter(pl.col("symbol").is_in(query.symbols))
    return frame.sort("symbol", "timestamp", maintain_order=True)


def _with_interval(bars: Bars, asked: str) -> Bars:
    """Return the bars with their interval, which must be the one asked for.

    Raises:
        ParameterError: another interval was asked for than the bars have.
        TooLittleHistoryError: no symbol has two bars.
    """
    found = infer_interval(bars.frame)
    if asked and not is_same_interval(asked, found):
        raise ParameterError("interval", asked, f"{found}, the interval of the bars")
    return Bars(
        bars.frame,
        canonical_interval(found),
        bars.price_basis,
        bars.source,
        bars.note,
        bars.repairs,
    )


SOURCE = Files()
