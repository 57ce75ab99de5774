r"""The bars store from the command line: `python -m pipelines.data.store COMMAND --help`.

    python -m pipelines.data.store list
    python -m pipelines.data.store put fixed.csv --interval 1d --reason "the feed sent cents"
    python -m pipelines.data.store remove 'M&M.NS' --interval 1d --first 2026-11-27 \
        --last 2026-11-27 --reason "a holiday"
    python -m pipelines.data.store remove APPL --interval 1d --whole-symbol --reason "a typo"
    python -m pipelines.data.store history

A correction is an event that keeps what was held before; servers that run see it at once. A refusal
is one line on stderr and exit code 2.
"""

import argparse
import getpass
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from pipelines.data.iso_times import parse_time
from pipelines.data.sources import BarQuery
from pipelines.data.sources.corrections import CORRECTED, REMOVED, Author, Correction, Removal
from pipelines.data.sources.files import SOURCE as FILES
from pipelines.data.sources.store import BarStore
from registry import events
from registry.command_line import run
from registry.database import opened_engine
from registry.errors import ParameterError
from registry.settings import PlatformSettings, read_settings

N_EVENTS = 20
Command = Callable[[BarStore, sa.Engine, argparse.Namespace], None]


def list_bars(store: BarStore, _: sa.Engine, wanted: argparse.Namespace) -> None:
    """Print one line per interval and symbol: bars, first, last."""
    for interval in [wanted.interval] if wanted.interval else store.intervals():
        for symbol in store.symbols(interval):
            times = store.held(interval).frames[symbol]["timestamp"]
            first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (times[0], times[-1]))
            print(f"{interval:5} {symbol:24} {len(times):9} bars {first} to {last}")


def put(store: BarStore, engine: sa.Engine, wanted: argparse.Namespace) -> None:
    """Hold the bars of a file instead of those of their times."""
    query = BarQuery(
        path=Path(wanted.path),
        symbols=(wanted.symbol,) if wanted.symbol else (),
        policy="strict",
    )
    frame = FILES.gathered(query).frame
    basis = wanted.price_basis or store.held(wanted.interval).price_basis or "unknown"
    _say(store.put(frame, wanted.interval, basis, _author(wanted), engine))


def remove(store: BarStore, engine: sa.Engine, wanted: argparse.Namespace) -> None:
    """Hold some bars of a symbol no more."""
    if wanted.whole_symbol == bool(wanted.first or wanted.last):
        expected = "--first, --last or both; or --whole-symbol without them"
        raise ParameterError("whole-symbol", wanted.whole_symbol, expected)
    first, last = parse_time("first", wanted.first), parse_time("last", wanted.last)
    removal = Removal(wanted.symbol, first, last)
    _say(store.remove(wanted.interval, removal, _author(wanted), engine))


def history(_: BarStore, engine: sa.Engine, __: argparse.Namespace) -> None:
    """Print the newest corrections, oldest first."""
    found = [event for kind in (CORRECTED, REMOVED) for event in events.of_kind(engine, kind)]
    for event in sorted(found, key=lambda event: event.id)[-N_EVENTS:]:
        facts = event.facts
        told = f"{facts['n_before']} bars before, {facts['n_after']} after"
        print(f"{event.at:%Y-%m-%d %H:%M:%S} {event.kind:15} {told}, {event.actor}: {event.reason}")


COMMANDS: dict[str, Command] = {
    "list": list_bars,
    "put": put,
    "remove": remove,
    "history": history,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command with the settings of the environment."""
    wanted = _parser().parse_args(argv)
    settings = read_settings(PlatformSettings)
    with opened_engine(settings) as engine:
        store = BarStore(settings.bars_dir)
        store.recover(engine)
        COMMANDS[wanted.command](store, engine, wanted)


def _say(found: Correction | None) -> None:
    if found is None:
        print("nothing was changed")
        return
    print(f"correction {found.id}: {len(found.was)} bars before, {len(found.now)} after")


def _author(wanted: argparse.Namespace) -> Author:
    return Author(wanted.actor, wanted.reason)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m pipelines.data.store", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    added = {
        name: commands.add_parser(name, help=(command.__doc__ or "").rstrip("."))
        for name, command in COMMANDS.items()
    }
    added["list"].add_argument("--interval", default="", help="of one interval only")
    added["put"].add_argument("path", help="file of bars, as source files reads it")
    added["put"].add_argument("--symbol", default="", help="whose bars; for a file without symbols")
    added["put"].add_argument("--price-basis", default="", help="default: that of the bars held")
    added["remove"].add_argument("symbol")
    added["remove"].add_argument("--first", default="", help="time of the first bar, ISO 8601, UTC")
    added["remove"].add_argument("--last", default="", help="time of the last bar")
    added["remove"].add_argument("--whole-symbol", action="store_true", help="every bar of it")
    for name in ("put", "remove"):
        added[name].add_argument("--interval", required=True, help="1d, 1h, 5m, ...")
        added[name].add_argument("--reason", required=True, help="for the event log")
        added[name].add_argument("--actor", default=getpass.getuser(), help="default: the login")
    return parser


if __name__ == "__main__":
    run(main)
