"""Answers of `market_regime`: the state of the market, and what it meant for the next bar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from pipelines.templates.answer_frames import chosen, constant, numbers, shares
from registry.decoder import Decoder

Array = NDArray[np.float64]

AFTER = ("volatility_annualised", "expected_volatility_annualised", "expected_duration_bars")
TRANSITIONS = "transition_probabilities"
NO_EARLIER = "there are no earlier out-of-fold rows"


@dataclass(frozen=True, slots=True)
class MarketRegimeAnswer:
    """The most probable state by what was known at the close."""

    regime: Annotated[str, Meaning("name of the most probable state, `calm` .. `turbulent`")]
    state: Annotated[int, Meaning("its number; 0 is the calmest")]
    n_states: Annotated[int, Meaning("how many there are")]
    probabilities: Annotated[
        Mapping[str, float], Meaning("filtered probability of each regime", "fraction")
    ]
    volatility_annualised: Annotated[
        float | None,
        Meaning(
            "standard deviation of the next bar's log return in that regime, annualised, measured "
            "on earlier out-of-fold rows",
            "fraction",
            NO_EARLIER,
        ),
    ]
    expected_volatility_annualised: Annotated[
        float | None, Meaning("that of the mixture by the probabilities", "fraction", NO_EARLIER)
    ]
    expected_duration_bars: Annotated[
        float | None,
        Meaning(
            "1 / (1 - probability to stay), from the changes of the most probable state in earlier "
            "out-of-fold rows",
            "bars",
            NO_EARLIER,
        ),
    ]
    transition_probabilities: Annotated[
        Mapping[str, float] | None,
        Meaning("from this regime to each, one bar on", "fraction", NO_EARLIER),
    ]
    same_day_action: Annotated[
        bool, Meaning("always false: the state of a close cannot be acted on before the next bar")
    ]
    acts_from: Annotated[
        Literal["next_bar"], Meaning("when a decision on this state is filled at the earliest")
    ]


def regime(p: NDArray[np.float64], names: tuple[str, ...], decoder: Decoder) -> MarketRegimeAnswer:
    """Return the answer of one row with the states' probabilities `p`, (n_states,)."""
    state = int(p.argmax())
    volatility = expected = duration = transitions = None
    if decoder.facts["n_states"] is not None:
        arrays, year = decoder.arrays, cast(float, decoder.facts["bars_per_year"])
        mean, variance = arrays["mean"], arrays["variance"]
        spread = float(p @ (variance + (mean - p @ mean) ** 2))
        volatility = float(np.sqrt(variance[state] * year))
        expected = float(np.sqrt(spread * year))
        duration = float(arrays["duration"][state])
        transitions = dict(zip(names, arrays["transition"][state].tolist(), strict=True))
    return MarketRegimeAnswer(
        regime=names[state],
        state=state,
        n_states=len(names),
        probabilities=dict(zip(names, p.tolist(), strict=True)),
        volatility_annualised=volatility,
        expected_volatility_annualised=expected,
        expected_duration_bars=duration,
        transition_probabilities=transitions,
        same_day_action=False,
        acts_from="next_bar",
    )


def regime_frame(p: Array, names: tuple[str, ...], decoder: Decoder) -> pl.DataFrame:
    """Return the answers of `regime` as columns; `p` is (n, n_states)."""
    n_rows, state = len(p), p.argmax(axis=1)
    return pl.DataFrame(
        [
            chosen("regime", names, state),
            pl.Series("state", state, pl.Int64()),
            constant("n_states", len(names), pl.Int64(), n_rows),
            shares("probabilities", names, p),
            *_after(p, state, names, decoder),
            constant("same_day_action", False, pl.Boolean(), n_rows),
            constant("acts_from", "next_bar", pl.String(), n_rows),
        ]
    )


def _after(
    p: Array, state: NDArray[np.intp], names: tuple[str, ...], decoder: Decoder
) -> list[pl.Series]:
    """Return what followed each state on earlier rows; nulls without any."""
    if decoder.facts["n_states"] is None:
        mapping = pl.Struct([pl.Field(name, pl.Float64()) for name in names])
        kinds = dict.fromkeys(AFTER, cast(pl.DataType, pl.Float64())) | {TRANSITIONS: mapping}
        return [constant(name, None, kind, len(p)) for name, kind in kinds.items()]
    arrays, year = decoder.arrays, cast(float, decoder.facts["bars_per_year"])
    mean, variance = arrays["mean"], arrays["variance"]
    spread = (p * (variance + (mean - (p @ mean)[:, None]) ** 2)).sum(axis=1)
    return [
        numbers("volatility_annualised", np.sqrt(variance * year)[state]),
        numbers("expected_volatility_annualised", np.sqrt(spread * year)),
        numbers("expected_duration_bars", arrays["duration"][state]),
        shares(TRANSITIONS, names, arrays["transition"][state]),
    ]
