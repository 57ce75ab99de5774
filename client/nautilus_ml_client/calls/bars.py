"""Corrections of the bars that a server holds, by a key with the scope `manage`."""

from datetime import datetime
from typing import Any

from nautilus_ml_client.answers import CorrectionResponse
from nautilus_ml_client.bars import bars_of
from nautilus_ml_client.errors import InputError
from nautilus_ml_client.requests import Flow, answered, as_time, delete, given
from nautilus_ml_client.requests import put as sent


def put(
    bars: Any,
    *,
    interval: str,
    reason: str,
    price_basis: str | None = None,
    timezone: str | None = None,
) -> Flow[CorrectionResponse]:
    """Hold bars instead of those of their times; the server's event log keeps what was there.

    All of them go in one request, so that all are held or none.

    Args:
        bars: as `post_bars` takes them.
        reason: why, for the event log.
        price_basis: None: that of the bars held of this interval.

    Raises:
        InputError: a column is missing, there is no bar, or a time has no zone.
    """
    found = bars_of(bars, timezone)
    if not found:
        raise InputError("bars: expected at least one bar")
    body = given(bars=found, interval=interval, reason=reason, price_basis=price_basis)
    return (yield from answered(sent("/bars", body), CorrectionResponse))


def remove(
    symbol: str,
    *,
    interval: str,
    reason: str,
    first: datetime | str | None = None,
    last: datetime | str | None = None,
    whole_symbol: bool = False,
) -> Flow[CorrectionResponse]:
    """Hold some bars of a symbol no more: those from `first` to `last`, both included.

    Args:
        first, last: None leaves a side open, but not both.
        whole_symbol: every bar of the symbol, instead.
    """
    query = given(
        symbol=symbol,
        interval=interval,
        reason=reason,
        first=as_time(first),
        last=as_time(last),
        whole_symbol="true" if whole_symbol else None,
    )
    return (yield from answered(delete("/bars", **query), CorrectionResponse))
