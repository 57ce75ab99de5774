"""Parameters of the stages: one frozen dataclass per group, read from the command line.

Each stage declares the classes it reads as `GROUPS`; MLproject is written from them
(pipelines/mlproject.py). Every value is typed here once; a wrong one is a single clear line.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from pipelines.data.adjustments import Adjustments
from pipelines.data.iso_times import parse_time
from pipelines.data.sources import BarQuery
from pipelines.data.sources.split_list import read_splits
from pipelines.data.splits import parse_scale
from registry import plain_json
from registry.contract import Json, ModelContract
from registry.errors import ParameterError
from registry.flavors import FLAVORS, Artifact

P = TypeVar("P")


def described(default: Any, text: str, *, is_path: bool = False) -> Any:
    """Return a field with a default and the line that `--help` shows.

    Args:
        is_path: whether the value is opened or written to; a caller from outside may not choose it.
    """
    return field(default=default, metadata={"help": text, "is_path": is_path})


@dataclass(frozen=True, slots=True)
class SourceParameters:
    """Which bars to use."""

    source: str = described(
        "sample", "where the data come from: sample, files, store, synthetic, data (uploaded)"
    )
    path: str = described(
        "",
        "file, folder or glob (files), bars folder (store), name of an upload (data)",
        is_path=True,
    )
    columns: str = described("", "our_name=file_name or our_name=position, comma separated")
    symbols: str = described("", "comma separated; empty means all that the source has")
    start: str = described("", "first bar, ISO date or time; empty means the earliest")
    end: str = described("", "last bar, ISO date or time; empty means the newest")
    interval: str = described("", "1d, 1h, ...; empty means read it off the data")
    timezone: str = described("UTC", "IANA zone of times written without one")
    date_order: str = described(
        "", "day-first or month-first, where dates like 01/02/2024 leave it open"
    )
    policy: str = described("strict", "strict refuses bad bars, repair corrects and reports them")
    splits: str = described(
        "",
        "splits to adjust for: JSON list of {symbol, date, ratio}, or a .json or .csv file of them",
        is_path=True,
    )
    jumps: str = described("refuse", "steps of a price that look like splits: refuse or accept")
    price_scale: str = described("", "factor of all prices, such as 0.01, or SYMBOL=0.01,...")
    stubs: str = described("keep", "bars outside the session: keep, merge or drop")

    def _whole_path(self) -> Path | None:
        """Return the path in full, so that an error says where it looked; a name stays one."""
        if not self.path:
            return None
        is_name = self.source == "data"
        return Path(self.path) if is_name else Path(self.path).expanduser().absolute()

    def query(self, seed: int = 0) -> BarQuery:
        """Return the query for `Source.read`.

        Raises:
            ParameterError: a date, mapping or policy that cannot be read.
        """
        if self.policy not in ("strict", "repair"):
            raise ParameterError("policy", self.policy, "strict or repair")
        return BarQuery(
            symbols=tuple(dict.fromkeys(s.strip() for s in self.symbols.split(",") if s.strip())),
            start=parse_time("start", self.start),
            end=parse_time("end", self.end),
            path=self._whole_path(),
            columns=parse_mapping("columns", self.columns),
            interval=self.interval,
            timezone=self.timezone,
            date_order=self.date_order,
            policy=self.policy,
            adjustments=self.adjustments(),
            seed=seed,
        )

    def adjustments(self) -> Adjustments:
        """Return what is said about the bars; reads the file of `splits` if one is named.

        Raises:
            ParameterError: a list, scale or choice that cannot be read.
        """
        return Adjustments(
            read_splits(self.splits),
            self.jumps,
            parse_scale(self.price_scale),
            self.stubs,
            parse_time("start", self.start),
            parse_time("end", self.end),
        )


SAID_OF_BARS = ("splits", "jumps", "stubs")
"""Parameters of a source that hold for the same symbols' bars of another."""

CONTRACT_NAMES = {"horizon": "horizon_bars", "model_name": "model_id"}
"""Recipe parameters that a contract holds under another name; all others have their own there."""


@dataclass(frozen=True, slots=True)
class RecipeParameters:
    """How to make a model from bars; with the source these are everything a fit depends on.

    Every field is one of `ModelContract` too, so that a version can be made again.
    """

    template: str = described("volatility_forecast", "model type")
    architecture: str = described("", "algorithm; empty means the template's first")
    feature_set: str = described("", "feature set; empty means the template's own")
    window: int = described(0, "steps fed to the model; 0 means the architecture's own")
    horizon: int = described(0, "bars ahead; 0 means the template's own")
    first_test: str = described(
        "", "start of the first test fold; empty means 10 years in, or half the span if short"
    )
    recent_bars: int = described(0, "fit on the newest n bar times only; 0 means on all")
    parameters: str = described("", "JSON object of architecture parameters to change")
    options: str = described("", "JSON object of template options to change (docs/templates.md)")
    seed: int = described(0, "seed of every random choice")
    model_name: str = described("", "registered model; empty means the template's name")

    @property
    def model_id(self) -> str:
        """Name of the registered model."""
        return self.model_name or self.template

    def changed_parameters(self) -> dict[str, Json]:
        """Return the architecture parameters to change.

        Raises:
            ParameterError: not a JSON object.
        """
        return json_object("parameters", self.parameters)

    def changed_options(self) -> dict[str, Json]:
        """Return the template options to change.

        Raises:
            ParameterError: not a JSON object.
        """
        return json_object("options", self.options)

    @classmethod
    def of_contract(cls, contract: ModelContract) -> "RecipeParameters":
        """Return the parameters that ask for the recipe of a version again."""
        names = {item.name: CONTRACT_NAMES.get(item.name, item.name) for item in fields(cls)}
        facts: dict[str, Any] = {name: getattr(contract, held) for name, held in names.items()}
        return cls(**facts | {name: _text(facts[name]) for name in ("parameters", "options")})

    def stored(self) -> dict[str, Any]:
        """Return the fields of a contract that hold these parameters.

        `of_contract(contract).stored()` are the contract's own.

        Raises:
            ParameterError: `parameters` or `options` is not a JSON object.
        """
        objects = {"parameters": self.changed_parameters(), "options": self.changed_options()}
        facts = asdict(self) | objects | {"model_name": self.model_id}
        return {CONTRACT_NAMES.get(name, name): value for name, value in facts.items()}


@dataclass(frozen=True, slots=True)
class JudgementParameters:
    """How a candidate is judged beside its own gates."""

    champion: int = described(0, "version that the candidate is compared with; 0 means none")
    trigger: str = described("", "what forced the refresh; empty means that nothing did")
    challenge_bars: int = described(126, "newest bar times for the comparison, seen by neither fit")
    paths: str = described(
        "", "combinatorial paths to report, groups,tested such as 6,2; empty means none"
    )


@dataclass(frozen=True, slots=True)
class PromotionParameters:
    """What happens to the registered version."""

    promote: bool = described(False, "ask for alias production after staging")


@dataclass(frozen=True, slots=True)
class FlavorParameters:
    """Which artifacts a version carries."""

    flavors: str = described("", "flavors to write, separated by commas; empty means all")
    compress: str = described(
        "", "compressed variants to write too, separated by commas: int8, palette6, palette4"
    )

    def names(self) -> tuple[str, ...]:
        """Return the flavors to write, native always among them.

        Raises:
            ParameterError: a flavor that does not exist.
        """
        known = tuple(FLAVORS)
        found = _listed("flavors", self.flavors, known)
        return tuple(name for name in known if not found or name in (*found, "native"))

    def artifacts(self) -> tuple[Artifact, ...]:
        """Return every artifact that there is a row about, native and full precision first.

        Raises:
            ParameterError: a flavor or a compression that does not exist.
        """
        flavors = [FLAVORS.get(n) for n in sorted(FLAVORS, key=lambda name: name != "native")]
        known = tuple(dict.fromkeys(c for flavor in flavors for c in flavor.compressions))
        wanted = _listed("compress", self.compress, known)
        return tuple(
            Artifact(flavor.name, variant)
            for flavor in flavors
            for variant in (*flavor.variants, *(c for c in flavor.compressions if c in wanted))
        )

    def libraries(self) -> tuple[str, ...]:
        """Return the converters that the flavors to write import, where they are installed."""
        flavors = [FLAVORS.get(name) for name in self.names()]
        return tuple(
            dict.fromkeys(
                library
                for flavor in flavors
                if not flavor.unavailable_reason()
                for library in flavor.libraries
            )
        )


OF_MAIN = (
    SourceParameters,
    RecipeParameters,
    JudgementParameters,
    PromotionParameters,
    FlavorParameters,
)
"""The groups of the entry point `main`, which are also what a caller may ask for over HTTP."""


def _listed(name: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of `a,b`, each of which must be known."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [part for part in found if part not in known]:
        raise ParameterError(name, unknown[0], f"some of {', '.join(known)}, separated by commas")
    return found


def parse(argv: Sequence[str] | None, about: str, *groups: type[Any]) -> list[Any]:
    """Read the command line into one instance per group.

    Args:
        argv: arguments; None means those of the process.
        about: the stage's docstring; its first line is the summary of `--help`.

    Raises:
        ParameterError: a value of the wrong type. (An unknown name exits as argparse does.)
    """
    parser = argparse.ArgumentParser(_program(), description=about.partition("\n")[0])
    for group in groups:
        for item in fields(group):
            shown = f" (default: {item.default!r})" if item.default != "" else ""
            parser.add_argument(
                f"--{item.name}",
                default=str(item.default),
                metavar=getattr(item.type, "__name__", str(item.type)),
                help=item.metadata["help"] + shown,
            )
    given = vars(parser.parse_args(argv))
    return [_build(group, given) for group in groups]


def _program() -> str | None:
    """Return the command of this process as people type it; None if it is not a module."""
    started = sys.modules["__main__"].__spec__
    return f"python -m {started.name}" if started else None


def changed_from_defaults(group: Any) -> dict[str, Json]:
    """Return the parameters of a group that are not its defaults."""
    return {
        item.name: getattr(group, item.name)
        for item in fields(group)
        if getattr(group, item.name) != item.default
    }


def parse_mapping(name: str, text: str) -> dict[str, str]:
    """Return `a=b,c=d` as a dict.

    Raises:
        ParameterError: a part without `=`.
    """
    mapping = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise ParameterError(name, text, "our_name=file_name pairs separated by commas")
        mapping[key.strip()] = value.strip()
    return mapping


def _text(facts: Mapping[str, Json]) -> str:
    return json.dumps(dict(facts), sort_keys=True)


def json_object(name: str, text: str) -> dict[str, Json]:
    """Return the JSON object that a parameter holds; an empty text is an empty one.

    Raises:
        ParameterError: not a JSON object.
    """
    if not text:
        return {}
    try:
        changed = plain_json.parse(text)
    except json.JSONDecodeError as exc:
        raise ParameterError(name, text, f"a JSON object ({exc.msg})") from exc
    if not isinstance(changed, dict):
        raise ParameterError(name, text, "a JSON object")
    return changed


def _build(group: type[P], given: dict[str, str]) -> P:
    values = {f.name: _typed(f.name, given[f.name], f.type) for f in fields(group)}  # type: ignore[arg-type]
    return group(**values)


def _typed(name: str, text: str, wanted: Any) -> str | float | bool:
    if wanted is bool:
        lowered = text.strip().lower()
        if lowered not in ("true", "false", "1", "0"):
            raise ParameterError(name, text, "true or false")
        return lowered in ("true", "1")
    if wanted is int:
        try:
            number = int(text)
        except ValueError as exc:
            raise ParameterError(name, text, "a whole number") from exc
        if number < 0:
            raise ParameterError(name, number, "0 or more")
        return number
    if wanted is float:
        return _real(name, text)
    return text


def _real(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as exc:
        raise ParameterError(name, text, "a number") from exc
    if not 0 <= number < math.inf:
        raise ParameterError(name, text, "a finite number, 0 or more")
    return number
