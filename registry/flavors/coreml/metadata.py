"""Metadata: what Xcode and an application's author read about a model.

The words come from the version's contract and from the two tables below, one line per template.
Nothing here depends on when or where a package was written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from registry.contract import ModelContract

AUTHOR = "Nautilus ML Engine"
LICENSE = "Apache-2.0 for the engine that wrote it; the model belongs to whoever trained it"
MAX_NAMES = 200
"""More names than this are cut: words of texts are thousands of columns."""

SCORES: Mapping[str, str] = {
    "anomaly": "how unusual the row is in the architecture's own unit; larger is more unusual",
    "market_regime": "log weights of the regimes, the calmest first; softmax gives probabilities",
    "portfolio_risk": "loss of the portfolio in each scenario, as a fraction of its value",
    "return_forecast": "log return from the fill over the horizon, in EWMA deviations of one bar",
    "sentiment": "logits of negative, neutral, positive",
    "tabular": "logits of the classes, or the number in deviations from its training mean",
    "trading_signals": "logits of SELL, HOLD, BUY",
    "volatility_forecast": "log of the mean variance over the horizon relative to EWMA variance",
}
"""Template -> what the scores are, with their unit."""
DECODER: Mapping[str, str] = {
    "anomaly": "threshold of the stated alarm rate, p-value, the alarm",
    "market_regime": "probabilities, the regime's name, its volatility and duration",
    "portfolio_risk": "value at risk, expected shortfall, contributions of the positions",
    "return_forecast": "scaling by today's deviation, the interval, the target price",
    "sentiment": "calibration, the class, the score from -1 to 1",
    "tabular": "calibration and the class, or the number in its own unit with an interval",
    "trading_signals": "calibration, the prediction set, costs, the signal or its abstention",
    "volatility_forecast": "exp, scaling by today's EWMA variance, annualisation, the interval",
}
"""Template -> what its decoder makes of the scores, which the package does not hold."""
PRECISION: Mapping[str, str] = {
    "fp32": "float32",
    "fp16": "float16 inside, float32 at input and output",
    "int8": "8-bit weights, float16 inside",
    "palette6": "weights from palettes of 64 values, float16 inside",
    "palette4": "weights from palettes of 16 values, float16 inside",
}


def describe(specification: Any, contract: ModelContract, variant: str) -> None:
    """Write the metadata into a specification (`Model` of coremltools' protocol buffers)."""
    description = specification.description
    metadata = description.metadata
    metadata.author, metadata.license = AUTHOR, LICENSE
    metadata.versionString = f"{contract.model_id} {contract.git_commit[:12]}"
    metadata.shortDescription = (
        f"{contract.template} by {contract.architecture}. The model gives raw scores: the key "
        "'scores' says what they are, the key 'decoder' what an answer still takes."
    )
    metadata.userDefined.update(_facts(contract, variant))
    description.input[0].shortDescription = (
        f"{len(contract.feature_names)} features in the order of the key 'features'"
        f"{_steps(contract)}; float32, as they are: the model scales them itself"
    )
    n_scores = contract.outputs.shape[1]
    description.output[
        0
    ].shortDescription = f"Raw scores ({n_scores}), float32: {_scores(contract)}"


def _facts(contract: ModelContract, variant: str) -> dict[str, str]:
    facts = {
        "model": contract.model_id,
        "template": contract.template,
        "architecture": contract.architecture,
        "feature_set": contract.feature_set,
        "feature_fingerprint": contract.feature_fingerprint,
        "features": _listed(contract.feature_names),
        "window": str(contract.window),
        "scores": _scores(contract),
        "decoder": DECODER.get(contract.template, "whatever the template does with raw scores"),
        "precision": PRECISION[variant],
        "horizon": contract.horizon,
        "interval": contract.interval,
        "symbols": _listed(contract.symbols),
        "data": f"{contract.data.source}, {contract.data.span}",
        "trained_until": contract.data.shown(contract.trained_until),
    }
    return {name: text for name, text in facts.items() if text}


def _scores(contract: ModelContract) -> str:
    return SCORES.get(contract.template, "raw scores of the template")


def _steps(contract: ModelContract) -> str:
    return "" if contract.window == 1 else f", for {contract.window} steps, the newest last"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
