"""ModelContract: what a model takes and gives, saved beside every version.

The contract is the one description that training writes and serving obeys: which features in
which order, how many steps, how many bars of history, which horizon, what the scores are. It is
JSON on disk; `ModelContract.from_json(contract.to_json()) == contract`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_TIMES = "the rows have no time"
"""Said in the note of data whose times only count rows: one per second from `EPOCH`."""

Json = None | bool | int | float | str | list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor at the model boundary; `None` in `shape` is a variable dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class DataSpan:
    """The data a version was made from: their digest, first and last time (ISO 8601, UTC).

    `n_bars` counts rows where there are no bars. `parameters` are those of the source that are not
    its defaults: where to find the data again. `file_sha256` is of the uploaded file that was
    read; empty where none was.
    """

    source: str
    sha256: str
    start: str
    end: str
    n_bars: int
    note: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    file_sha256: str = ""

    @property
    def has_times(self) -> bool:
        """Whether the rows have times of their own; others are counted in seconds since 1970."""
        return NO_TIMES not in self.note

    def shown(self, time: str) -> str:
        """Return an ISO time for people: a date where it is midnight, `row 7` of rows without."""
        if not self.has_times:
            return f"row {int((datetime.fromisoformat(time) - EPOCH).total_seconds()) + 1}"
        return time.removesuffix("T00:00:00+00:00")

    @property
    def span(self) -> str:
        """The first and the last time, for people."""
        return f"{self.shown(self.start)} to {self.shown(self.end)}"


@dataclass(frozen=True, slots=True)
class ModelContract:
    """Everything a caller and a server must know about one version.

    `inputs.shape` is `(None, n_features)` when `window == 1` and `(None, window, n_features)`
    otherwise, float32, C order; `outputs.shape` is `(None, n_scores)`, float32 raw scores (margins,
    log ratios or logits), which the template decodes.
    `horizon` and `interval` are written like `5d`, `1h`; `horizon_bars` is the same in bars.
    `min_history` is the number of bars, newest included, that one prediction needs.
    `trained_until` is the latest label end (t1) among the rows of the final fit (ISO 8601, UTC).
    `label_spec` and `cost_spec` are the template's own parameters.
    `first_test` is where the walk-forward tests began (ISO 8601, UTC; what the label was fitted on
    lies before it), `recent_bars` how many of the newest bar times were fitted (0: all) and
    `options` what was chosen about label and answer; with them a retraining run repeats the recipe.
    Without bars behind it (tables, texts) a model has no `interval`, `horizon` and `symbols`.
    """

    model_id: str
    template: str
    architecture: str
    feature_set: str
    feature_names: tuple[str, ...]
    feature_fingerprint: str
    window: int
    inputs: TensorSpec
    outputs: TensorSpec
    horizon: str
    horizon_bars: int
    interval: str
    min_history: int
    symbols: tuple[str, ...]
    price_basis: str
    native_format: str
    label_spec: Mapping[str, Json]
    cost_spec: Mapping[str, Json]
    parameters: Mapping[str, Json]
    data: DataSpan
    trained_until: str
    seed: int
    git_commit: str
    lock_sha256: str
    created_at: str
    first_test: str = ""
    recent_bars: int = 0
    options: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the contract as JSON with sorted keys (stable, so that it can be digested)."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelContract":
        """Return the contract that `to_json` wrote."""
        facts = json.loads(text)
        for name in ("inputs", "outputs"):
            spec = facts[name]
            facts[name] = TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"]))
        facts["data"] = DataSpan(**facts["data"])
        for name in ("feature_names", "symbols"):
            facts[name] = tuple(facts[name])
        return cls(**facts)


def tensor_input(n_features: int, window: int) -> TensorSpec:
    """Return the input spec of a model over `window` steps of `n_features` features."""
    shape = (None, n_features) if window == 1 else (None, window, n_features)
    return TensorSpec("features", "float32", shape)
