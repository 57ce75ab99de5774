"""Answers of `market_regime`: the state of the market, and what it meant for the next bar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.templates.answer_fields import Meaning
from registry.decoder import Decoder

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
