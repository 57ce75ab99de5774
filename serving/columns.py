"""The columns-per-symbol form: lists in the order of `symbols` -> the facts of each symbol.

`price_data[i]` is the bar of `symbols[i]` that is forming now, after the last one held.
`technical_indicators` replace what the engine computes for the newest step. Their names are those
that the feature set declares (`RequestAlias`), or the features' own. Whatever a version does not
use is listed, never silently dropped. A bad value is its symbol's error; a list of the wrong length
is an error of the request.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.data.bars import PRICES
from pipelines.data.features import FeatureSet, RequestAlias
from pipelines.recipes.inputs.feature_rows import FLOAT32_MAX, finite
from registry.errors import MLEngineError, ParameterError, ShapeError, ValueRangeError
from serving.schemas import ColumnFeatures

TINIEST_PRICE = 1e-12


@dataclass(frozen=True, slots=True)
class FormingStep:
    """What the caller knows of one symbol's newest step.

    `bar` holds the prices and volume given (empty: the last bar held is the newest step);
    `overrides` is indicator name -> value in the unit its alias declares.
    """

    bar: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, float] = field(default_factory=dict)


NOTHING_KNOWN = FormingStep()


@dataclass(frozen=True, slots=True)
class Columns:
    """The whole form: the facts or the error of each symbol, and what no feature uses."""

    forming: Mapping[str, FormingStep]
    errors: Mapping[str, MLEngineError]
    ignored: tuple[str, ...]


def read(
    features: ColumnFeatures | None,
    symbols: Sequence[str],
    feature_set: FeatureSet,
    used_columns: Container[str],
) -> Columns:
    """Read `features` into one step per symbol.

    Args:
        used_columns: bar columns that the version's answers depend on; others are listed.

    Raises:
        ShapeError: a list that is used has another length than `symbols`.
    """
    if features is None:
        return Columns(dict.fromkeys(symbols, NOTHING_KNOWN), {}, ())
    indicators, ignored = _split(features, feature_set)
    ignored += _unused(features, used_columns)
    lists = {"price_data": features.price_data, "volume": features.volume} | {
        f"technical_indicators.{name}": values for name, values in indicators.items()
    }
    for name, values in lists.items():
        _check_length(name, values, len(symbols))
    forming: dict[str, FormingStep] = {}
    errors: dict[str, MLEngineError] = {}
    for i, symbol in enumerate(symbols):
        try:
            forming[symbol] = _one(features, indicators, i)
        except (ValueRangeError, ParameterError) as problem:
            errors[symbol] = problem
    return Columns(forming, errors, tuple(ignored))


def alias_of(name: str, feature_set: FeatureSet) -> RequestAlias:
    """Return the feature that the indicator `name` replaces, and the unit of its values.

    A feature's own name is its own alias.
    """
    return feature_set.aliases.get(name) or RequestAlias(name)


def in_feature_unit(value: float, alias: RequestAlias, close: float) -> float:
    """Return an override in the feature's own unit, given the newest close."""
    if alias.unit == "price":
        return value / close
    return value / 100 if alias.unit == "percent" else value


def _split(features: ColumnFeatures, feature_set: FeatureSet) -> tuple[dict[str, Any], list[str]]:
    used: dict[str, str] = {}  # feature -> the name that gave it
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    for name, values in (features.technical_indicators or {}).items():
        feature = alias_of(name, feature_set).feature
        if feature not in feature_set.feature_names:
            ignored.append(f"technical_indicators.{name}")
        elif feature in used:
            ignored.append(f"technical_indicators.{name} ({used[feature]} is given)")
        else:
            used[feature], kept[name] = name, values
    ignored += list(features.model_extra or {})
    return kept, ignored


def _unused(features: ColumnFeatures, used_columns: Container[str]) -> list[str]:
    """Return the columns of the forming bars that were given and change nothing."""
    unused = []
    if features.volume is not None and features.price_data is None:
        unused.append("volume (it belongs to a forming bar: give price_data)")
    elif features.volume is not None and "volume" not in used_columns:
        unused.append("volume")
    bars = [bar for bar in features.price_data or [] if isinstance(bar, dict)]
    given = [name for name in PRICES if any(bar.get(name) is not None for bar in bars)]
    return unused + [f"price_data.{name}" for name in given if name not in used_columns]


def _check_length(name: str, values: Any, n_symbols: int) -> None:
    if values is None:
        return
    if not isinstance(values, list):
        raise ShapeError(f"features.{name}", "a list", type(values).__name__)
    if len(values) != n_symbols:
        expected = f"{n_symbols} values, one per symbol"
        raise ShapeError(f"features.{name}", expected, str(len(values)))


def _one(features: ColumnFeatures, indicators: Mapping[str, Any], i: int) -> FormingStep:
    prices = features.price_data
    bar = _bar(prices[i], f"features.price_data[{i}]") if prices is not None else {}
    volume = features.volume[i] if features.volume is not None else None
    if bar and volume is not None:
        bar["volume"] = finite(volume, f"features.volume[{i}]", low=0.0)
    overrides = {
        name: finite(values[i], f"features.technical_indicators.{name}[{i}]")
        for name, values in indicators.items()
        if values is not None and values[i] is not None
    }
    return FormingStep(bar, overrides)


def _bar(value: Any, where: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return {"close": _price(value, where)}
    unknown = sorted(set(value) - set(PRICES))
    if unknown:
        raise ParameterError(where, unknown[0], "only open, high, low and close")
    if value.get("close") is None:
        raise ParameterError(where, value, "an object with close")
    bar = {n: _price(value[n], f"{where}.{n}") for n in PRICES if value.get(n) is not None}
    low, high = bar.get("low", min(bar.values())), bar.get("high", max(bar.values()))
    if low > min(bar.values()) or high < max(bar.values()):
        raise ParameterError(where, value, "low <= open, close <= high")
    return bar


def _price(value: Any, where: str) -> float:
    price = finite(value, where)
    if not TINIEST_PRICE <= price <= FLOAT32_MAX:
        raise ValueRangeError(where, value, "a positive price")
    return price
