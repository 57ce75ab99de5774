"""The registry from the command line: `python -m registry COMMAND --help`.

    python -m registry list
    python -m registry show volatility_forecast 2
    python -m registry promote volatility_forecast 2 --reason "better on 2008"
    python -m registry roll-back volatility_forecast --reason "too many errors"
    python -m registry delete volatility_forecast 1 --reason obsolete
    python -m registry accept-answers volatility_forecast 1 --reason "wider intervals are right"
    python -m registry accept-implausible volatility_forecast 2 --person "Ada Lovelace" \
        --reason "opens and closes come from two feeds, compared with a third"
    python -m registry history volatility_forecast
    python -m registry pair --reason "MLflow was restored from last night's backup"

To look needs the engine database alone; `list` also says what MLflow has lost, where it answers. A
command that moves an alias asks MLflow too, and passes the same gates as a retraining run. A
refusal is one line on stderr and exit code 2.
"""

import argparse
import getpass
import sys
from collections.abc import Callable, Sequence
from typing import cast

import sqlalchemy as sa

from registry import events
from registry.alias_rows import PRODUCTION, STAGING
from registry.command_line import run
from registry.contract import Json
from registry.database import opened_engine
from registry.errors import UnavailableError
from registry.settings import PlatformSettings, read_settings
from registry.versions import Registry

Command = Callable[[Registry, argparse.Namespace], None]
MOVING = ("promote", "roll-back", "delete")
SIGNED = (*MOVING, "accept-answers", "pair")
"""Commands that say who and why."""
N_EVENTS = 20


def list_versions(registry: Registry, wanted: argparse.Namespace) -> None:
    """Print one line per version, of one model or of all."""
    is_asked = _is_there(registry)
    for model_id in [wanted.model] if wanted.model else registry.model_ids():
        named = {a: registry.alias_state(model_id, a).number for a in (PRODUCTION, STAGING)}
        lost = registry.lost(model_id) if is_asked else {}
        for version in registry.list_versions(model_id):
            aliases = ", ".join(alias for alias, n in named.items() if n == version.number)
            if version.number in lost:
                was = f", was {aliases}" if aliases else ""
                aliases = f"{lost[version.number]}{was}"
            shut = len(version.refusals("serve"))
            lock = "open" if not shut else f"shut by {shut}"
            made = f"{version.created_at:%Y-%m-%d %H:%M}"
            print(f"{model_id:24} {version.number:4} {made}  serve lock {lock:12} {aliases}")


def _is_there(registry: Registry) -> bool:
    """Return whether MLflow may be asked; else say why not."""
    try:
        registry.check_pair()
    except UnavailableError as exc:
        print(f"only the engine database was asked: {exc}", file=sys.stderr)
        return False
    return True


def show(registry: Registry, wanted: argparse.Namespace) -> None:
    """Print every gate of a version: passed or not, value, limit, how it was measured."""
    version = registry.get(wanted.model, wanted.number)
    for row in version.record:
        verdict = "passed" if row.passed else "failed" if row.applicable else "n/a"
        print(f"{verdict:7} {row.gate:26} {row.measured:>14}  needs {row.needed}  {row.note}")
    for line in version.refusals("serve"):
        print(f"serve lock: {line}")
    for accepted in version.acceptances:
        print(f"accepted by {accepted.actor}: {', '.join(accepted.gates)} ({accepted.reason})")
    print(f"may trade: {'no' if version.refusals('trade') else 'yes'}; run {version.run_id}")


def promote(registry: Registry, wanted: argparse.Namespace) -> None:
    """Move the alias production to a version."""
    moved = registry.promote(wanted.model, wanted.number, actor=wanted.actor, reason=wanted.reason)
    print(f"{moved.model_id} version {moved.number} is in production")


def roll_back(registry: Registry, wanted: argparse.Namespace) -> None:
    """Return production to the champion before."""
    moved = registry.roll_back(wanted.model, actor=wanted.actor, reason=wanted.reason)
    print(f"{moved.model_id} version {moved.number} is in production again")


def delete(registry: Registry, wanted: argparse.Namespace) -> None:
    """Delete a version that no alias names; its record stays in the event log."""
    registry.delete(wanted.model, wanted.number, actor=wanted.actor, reason=wanted.reason)
    print(f"{wanted.model} version {wanted.number} is deleted")


def accept_answers(registry: Registry, wanted: argparse.Namespace) -> None:
    """Accept what this code changes in the answers of a version."""
    which = wanted.model, wanted.number
    found = registry.accept_answers(*which, actor=wanted.actor, reason=wanted.reason)
    for change in found:
        print(change.line())
    print(f"{wanted.model} version {wanted.number}: the answers of this code are accepted")


def accept_implausible(registry: Registry, wanted: argparse.Namespace) -> None:
    """Accept what of a version is too good to be true, in a person's name."""
    rows = registry.accept_implausible(
        wanted.model, wanted.number, actor=wanted.person, reason=wanted.reason
    )
    for row in rows:
        print(f"accepted by {wanted.person}: {row.line()}")


def pair(registry: Registry, wanted: argparse.Namespace) -> None:
    """Make a pair of the engine database and MLflow again, after a backup was restored."""
    if not registry.pair_again(actor=wanted.actor, reason=wanted.reason):
        print("the engine database and MLflow are a pair already")
        return
    print("the engine database and MLflow are a pair now")
    for model_id in registry.model_ids():
        for number, became in registry.lost(model_id).items():
            print(f"{model_id} version {number}: {became}")


COMMANDS: dict[str, Command] = {
    "list": list_versions,
    "show": show,
    "promote": promote,
    "roll-back": roll_back,
    "delete": delete,
    "accept-answers": accept_answers,
    "accept-implausible": accept_implausible,
    "pair": pair,
}


def history(engine: sa.Engine, model_id: str) -> None:
    """Print the model's newest events, oldest first."""
    for event in events.read(engine, model_id, limit=sys.maxsize)[-N_EVENTS:]:
        number = "" if event.number is None else f"version {event.number}"
        print(f"{event.at:%Y-%m-%d %H:%M:%S} {event.kind:20} {number:12} {event.actor}: ", end="")
        print(" ".join(event.reason.split()) + _became(event))


def _became(event: events.Event) -> str:
    """Return what became of a move that somebody made in MLflow; empty for other events."""
    if event.kind != "alias_moved_outside":
        return ""
    facts = event.facts
    to = f"{facts['alias']} from {facts['from'] or 'none'} to {facts['to'] or 'none'}"
    if facts["followed"]:
        return f": {to}, followed: its serve lock was open"
    return f": {to}, not followed: {'; '.join(map(str, cast(list[Json], facts['refusals'])))}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command with the settings of the environment."""
    wanted = _parser().parse_args(argv)
    settings = read_settings(PlatformSettings)
    with opened_engine(settings) as engine:
        if wanted.command == "history":
            history(engine, wanted.model)
            return
        if wanted.command in MOVING:
            Registry(settings, engine).check_pair()
        COMMANDS[wanted.command](Registry(settings, engine), wanted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m registry", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in {**COMMANDS, "history": history}.items():
        added = commands.add_parser(name, help=(command.__doc__ or "").split("\n")[0])
        if name == "list":
            added.add_argument("model", nargs="?", default="", help="one model; all without it")
            continue
        if name != "pair":
            added.add_argument("model", help="name of the registered model")
        if name in ("show", "promote", "delete", "accept-answers", "accept-implausible"):
            added.add_argument("number", type=int, help="version number")
        if name in SIGNED:
            added.add_argument("--reason", required=True, help="why, for the event log")
            added.add_argument("--actor", default=getpass.getuser(), help="who (%(default)s)")
        if name == "accept-implausible":
            added.add_argument("--person", required=True, help="name of who has looked at it")
            added.add_argument("--reason", required=True, help="why it is true after all")
    return parser


if __name__ == "__main__":
    run(main)
