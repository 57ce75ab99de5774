"""Times as files write them, read into UTC.

One column has one format: it is found once, over all rows, and a row that does not fit is an error
that names it. The data must show whether dates are day first or month first, or `date_order` says
it. Rules:

- counts since 1970 have the unit that their number of digits shows; a unit that changes inside the
  file is noted;
- dates without a time of day, and columns that are midnight in every row, as written, are daily
  labels: 00:00 UTC of that date, whatever the time zone;
- other times with an offset (ISO 8601) are instants; offsets more than an hour apart (daylight
  saving) are mixed zones, an error;
- other naive times are wall-clock times of `timezone`. An hour that the clocks repeat is daylight
  time before the clock of its symbol's rows goes back and standard time after it; where it does
  not go back, standard time, so that nothing is known too early. An hour that the clocks skip
  does not exist: an error, or under policy `repair` a removed row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from pipelines.data.sources.epochs import since_1970
from pipelines.data.sources.repeated_hours import is_earlier
from registry.errors import BarsError, ParameterError

DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y"),
    *("%d/%m/%y", "%m/%d/%y"),
    *("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
DATE_ORDERS = {"": "", "day-first": "%d", "month-first": "%m"}
"""Values of `date_order`, and what a date then begins with."""
ISO_DATES = ("%Y-%m-%d", "%Y%m%d")
CLOCKS = ("%H:%M", "%H:%M:%S%.f", "%H%M%S")
CLOCKS_AM_PM = ("%I:%M %p", "%I:%M:%S %p")
COMPACT = ("%Y%m%d%H%M%S", "%Y%m%d%H%M")
ZONE = "%#z"
OFFSET = r"\s*(UTC|GMT|Z|[+-]\d{2}(:?\d{2})?)$"

PLAUSIBLE_YEARS = (1900, 2200)


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Times read from a file: `values` is UTC or naive microseconds, one per row, no nulls.

    `notes` say what a report should repeat.
    """

    values: pl.Series
    is_naive: bool
    notes: tuple[str, ...] = ()


def parse_times(
    column: pl.Series, rows: Sequence[int] | pl.Series, where: str, date_order: str = ""
) -> TimeColumn:
    """Read a column of text, integers, dates or datetimes.

    Args:
        column: one value per row.
        rows: the rows' numbers in the file, for messages.
        date_order: `day-first` or `month-first` where dates leave it open.

    Raises:
        ParameterError: another date order.
        BarsError: a missing time, no format known, mixed formats or zones, or dates that may be
            day first or month first.
    """
    check_date_order(date_order)
    if column.null_count():
        row = rows[int(column.is_null().arg_max() or 0)]
        raise BarsError(f"row {row} has no time", where, "remove the row or fill its time in")
    if isinstance(column.dtype, pl.Datetime):
        values = column.cast(pl.Datetime("us", column.dtype.time_zone))
        written = values.dt.replace_time_zone(None)
        if column.dtype.time_zone is None or _is_midnight(written):
            return TimeColumn(written, is_naive=True)
        return TimeColumn(values.dt.convert_time_zone("UTC"), is_naive=False)
    if column.dtype == pl.Date:
        return TimeColumn(column.cast(pl.Datetime("us")), is_naive=True)
    texts = _texts(column)
    counted = None if _fits(texts, COMPACT) else since_1970(texts, rows)
    if counted is not None:
        return TimeColumn(counted[0], is_naive=False, notes=counted[1])
    return _parse_texts(texts, rows, where, date_order)


def check_date_order(name: str) -> None:
    """Refuse a date order that does not exist.

    Raises:
        ParameterError: no such order.
    """
    if name not in DATE_ORDERS:
        raise ParameterError("date_order", name, "day-first or month-first")


def check_timezone(name: str) -> None:
    """Refuse a time zone that does not exist.

    Raises:
        ParameterError: no such time zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        expected = "an IANA time zone like America/New_York"
        raise ParameterError("timezone", name, expected) from exc


def to_utc(
    frame: pl.DataFrame, timezone: str, *, is_unique: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Read the naive `timestamp` of a frame (with `symbol`) as wall-clock time of `timezone`.

    Args:
        is_unique: whether a symbol has one row per instant (bars have, rows of a table not).

    Returns:
        The frame with UTC times, the rows whose time does not exist (left out of it), and how many
        times stood in a repeated hour (`pipelines.data.sources.repeated_hours`).

    Raises:
        ParameterError: no such time zone.
    """
    check_timezone(timezone)
    stamp = pl.col("timestamp")
    if timezone == "UTC" or _is_midnight(frame["timestamp"]):
        return frame.with_columns(stamp.dt.replace_time_zone("UTC")), frame.clear(), 0

    def zoned(which: Literal["earliest", "latest"]) -> pl.Expr:
        local = stamp.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null")
        return local.dt.convert_time_zone("UTC")

    later = frame.select(zoned("latest")).to_series()
    is_repeated = frame.select(zoned("earliest")).to_series().ne(later).fill_null(value=False)
    n_repeated = int(is_repeated.sum())
    times = pl.lit(later)
    if n_repeated:
        sure = pl.lit(is_earlier(frame, is_repeated, is_unique=is_unique))
        times = pl.when(sure).then(zoned("earliest")).otherwise(times)
    exists = later.is_not_null()
    utc = frame.with_columns(times.alias("timestamp")).filter(exists)
    return utc, frame.filter(~exists), n_repeated


def _texts(column: pl.Series) -> pl.Series:
    """Return times as texts of one spelling: points in seconds, `+01:00` for `GMT+0100`."""
    if column.dtype.is_float():
        if (column == column.floor()).all():
            return column.cast(pl.Int64).cast(pl.String)
        ticks = (column * 1_000_000).round().cast(pl.Int64, strict=False)  # seconds with decimals
        seconds, rest = (ticks // 1_000_000).cast(pl.String), (ticks % 1_000_000).cast(pl.String)
        return seconds + "." + rest.str.zfill(6)
    texts = column.cast(pl.String).str.strip_chars()
    texts = texts.str.replace(r"\s+(?:GMT|UTC)([+-]\d)", "$1")
    texts = texts.str.replace(r"(:\d\d),(\d{1,9})\b", "$1.$2")
    texts = texts.str.replace(r"^(\d{4}-\d\d-\d\d)(Z|[+-]\d\d:\d\d)$", "${1}T00:00:00$2")
    return texts.str.replace(r"^(\d{9,})\.0*$", "$1")


def _fits(texts: pl.Series, formats: Sequence[str]) -> bool:
    return any(_read(texts, f).null_count() == 0 for f in formats)


def _parse_texts(
    texts: pl.Series, rows: Sequence[int] | pl.Series, where: str, date_order: str
) -> TimeColumn:
    heads = texts.head(1).to_frame("text").select(_parsed(f).alias(f) for f in _formats())
    formats = [f for f in heads.columns if heads[f].null_count() == 0]
    if not formats:
        raise BarsError(
            f"row {rows[0]}: time {texts[0]!r} has no format known here",
            where,
            _hint_of(texts[0]),
            f"row {rows[0]}: its time has no format known here",
        )
    read = {f: _read(texts, f) for f in formats}
    whole = {f: values for f, values in read.items() if values.null_count() == 0}
    if not whole:
        likely = min(read, key=lambda f: read[f].null_count())
        odd = int(read[likely].is_null().arg_max() or 0)
        raise BarsError(
            f"row {rows[odd]}: time {texts[odd]!r} is not written like {texts[0]!r} in row "
            f"{rows[0]} ({likely})",
            where,
            "use one format in the whole column",
            f"row {rows[odd]}: its time is not written like that of row {rows[0]} ({likely})",
        )
    first, *others = sorted(whole, key=lambda f: not f.startswith(DATE_ORDERS[date_order]))
    if date_order and first.startswith(("%d", "%m")):
        _refuse_other_order(first, date_order, where)
        others = []
    for other in others:
        if not whole[first].equals(whole[other]):
            raise BarsError(
                f"row {rows[0]}: time {texts[0]!r} may be {first} or {other}, and no row decides",
                where,
                "say date_order=day-first or date_order=month-first",
                f"row {rows[0]}: its time may be {first} or {other}, and no row decides",
            )
    if first.endswith(ZONE):
        _refuse_mixed_zones(texts, rows, where)
        written = _read(texts.str.replace(OFFSET, ""), first.removesuffix(ZONE).strip())
        if _is_midnight(written):
            return TimeColumn(written, is_naive=True)
    return TimeColumn(whole[first], is_naive=not first.endswith(ZONE))


def _refuse_other_order(form: str, date_order: str, where: str) -> None:
    if not form.startswith(DATE_ORDERS[date_order]):
        other = next(name for name, sign in DATE_ORDERS.items() if sign and form.startswith(sign))
        problem = f"date_order is {date_order}, but its dates are {other} ({form})"
        raise BarsError(problem, where, f"say date_order={other}")


def _hint_of(text: str) -> str:
    if re.fullmatch(r"\d(\.\d+)?[eE]\+?\d+", text):
        return "a spreadsheet rounded it; export the column as text"
    return "write it like 2024-01-31, 2024-01-31 16:00 or 2024-01-31T16:00:00Z"


def _is_midnight(naive: pl.Series) -> bool:
    return bool((naive.dt.truncate("1d") == naive).all())


def _formats() -> list[str]:
    clocked = [f"{d} {c}" for d in DATES for c in CLOCKS]
    american = [f"{d} {c}" for d in DATES for c in CLOCKS_AM_PM]
    iso = [f"{d}T{c}" for d in ISO_DATES for c in CLOCKS]
    zoned = [f"{f}{gap}{ZONE}" for f in (*iso, *clocked) for gap in ("", " ")]
    return [*DATES, *COMPACT, *clocked, *american, *iso, *zoned]


def _read(texts: pl.Series, form: str) -> pl.Series:
    return texts.to_frame("text").select(_parsed(form)).to_series()


def _parsed(form: str) -> pl.Expr:
    """Return the times in `text`, null where it has another format or an implausible year."""
    text = pl.col("text")
    if form in DATES:
        values = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    elif form.endswith(ZONE):
        plain = text.str.replace(r"\s*(UTC|GMT)$", "Z")
        values = plain.str.to_datetime(form, time_unit="us", strict=False)
    else:
        values = text.str.to_datetime(form, time_unit="us", strict=False)
    return pl.when(values.dt.year().is_between(*PLAUSIBLE_YEARS)).then(values)


def _refuse_mixed_zones(texts: pl.Series, rows: Sequence[int] | pl.Series, where: str) -> None:
    parts = texts.str.extract_groups(r"([+-])(\d{2}):?(\d{2})?$").struct.unnest()
    sign, hours, minutes = (parts[c] for c in parts.columns)
    offset = hours.cast(pl.Int32).fill_null(0) * 60 + minutes.cast(pl.Int32).fill_null(0)
    offset = offset * (1 - 2 * (sign == "-").fill_null(value=False).cast(pl.Int32))
    far = (offset - offset[0]).abs() > 60
    if far.any():
        odd = int(far.arg_max() or 0)
        raise BarsError(
            f"row {rows[odd]}: time {texts[odd]!r} has another zone than {texts[0]!r} in row "
            f"{rows[0]}",
            where,
            "write all times in one zone",
            f"row {rows[odd]}: its time has another zone than that of row {rows[0]}",
        )
