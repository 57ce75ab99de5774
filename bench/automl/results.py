"""Results of the bench: what each tool promised, what it lost on untouched rows, and their ranks.

A score is normalised to 1 - loss / loss of the constant forecast of the searched rows, so that 0 is
no better than that and 1 is exact. Optimism is the normalised score of the search minus the
untouched one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.automl.sets import Rows
from bench.figures import Figure

Array = NDArray[np.float64]

SMALLEST = 1e-15
"""A probability below it is taken as this, as scikit-learn did for years."""
BLOCKS = 100
"""Neighbouring rows whose losses are averaged before their spread is asked for."""


@dataclass(frozen=True, slots=True)
class Result:
    """One tool on one set with one seed.

    `search`, `untouched`, `constant`: losses by the metric of the set; `search` is NaN where a tool
    names none in that metric. `losses`: mean loss of each block of untouched rows. `seconds`: what
    the tool's search took by its own clock; `process_seconds`: processor time of its whole process,
    imports and predictions included. `overhead_ms`: of a trial of ours beyond fits and judgement;
    `first_ms`: of the first of an architecture, which imports what it needs.
    """

    set: str
    seed: int
    tool: str
    search: float
    untouched: float
    constant: float
    losses: tuple[float, ...]
    seconds: float
    trials: int
    overhead_ms: float
    note: str
    process_seconds: float = 0.0
    first_ms: float = 0.0

    @property
    def score(self) -> float:
        """The normalised score on the untouched rows."""
        return 1 - self.untouched / self.constant

    @property
    def optimism(self) -> float:
        """What the search promised beyond that."""
        return (self.untouched - self.search) / self.constant


def judged(rows: Rows, seed: int, tool: str, found: Mapping[str, NDArray[np.generic]]) -> Result:
    """Return the result of a tool from the file that it wrote."""
    losses = losses_of(rows.kind, rows.y_test, np.asarray(found["predicted"], np.float64))
    constant = losses_of(rows.kind, rows.y_test, _constant(rows))
    blocks = np.array_split(losses, min(BLOCKS, len(losses)))
    return Result(
        set=rows.name,
        seed=seed,
        tool=tool,
        search=float(found["search_score"]),
        untouched=_summed(rows.kind, losses),
        constant=_summed(rows.kind, constant),
        losses=tuple(float(np.nanmean(block)) for block in blocks),
        seconds=float(found["seconds"]),
        trials=int(found["trials"]),
        overhead_ms=float(found["overhead_ms"]) if "overhead_ms" in found else float("nan"),
        note=str(found["note"]),
        first_ms=float(found["first_ms"]) if "first_ms" in found else 0.0,
    )


def losses_of(kind: str, y: Array, predicted: Array) -> Array:
    """Return log loss, squared error, or QLIKE of each row (NaN where nothing was realised)."""
    if kind == "classes":
        chosen = predicted[np.arange(len(y)), y.astype(np.intp)]
        return np.asarray(-np.log(np.maximum(chosen, SMALLEST)))
    if kind == "number":
        return np.asarray((y - predicted) ** 2)
    ratio = np.where(y > 0, y, np.nan) / predicted
    return np.asarray(ratio - np.log(ratio) - 1)


def _summed(kind: str, losses: Array) -> float:
    mean = float(np.nanmean(losses))
    return float(np.sqrt(mean)) if kind == "number" else mean


def _constant(rows: Rows) -> Array:
    """Return the class shares of the searched rows, or their mean, for each untouched row."""
    n = len(rows.y_test)
    if rows.kind == "classes":
        shares = np.bincount(rows.y.astype(np.intp)) / len(rows.y)
        return np.tile(shares, (n, 1))
    return np.full(n, rows.y.mean())


def ranks(results: Sequence[Result]) -> dict[str, float]:
    """Return each tool's mean rank over the sets and seeds that every tool has; equals share."""
    tools = sorted({r.tool for r in results})
    by_case: dict[tuple[str, int], dict[str, float]] = {}
    for r in results:
        by_case.setdefault((r.set, r.seed), {})[r.tool] = r.untouched
    places = [
        [
            np.mean([(other < case[t]) + (other <= case[t]) for other in case.values()])
            for t in tools
        ]
        for case in by_case.values()
        if len(case) == len(tools)
    ]
    means = np.mean(places, axis=0) * len(tools) / 2 + 0.5
    return dict(zip(tools, means.tolist(), strict=True))


def worse_than(results: Sequence[Result], ours: str, theirs: str, of: str) -> float:
    """Return t of the mean loss of ours minus theirs on a set, over blocks and seeds."""
    known = {(r.seed, r.tool): np.array(r.losses) for r in results if r.set == of}
    seeds = sorted({seed for seed, tool in known if tool == ours and (seed, theirs) in known})
    together = np.concatenate([known[s, ours] - known[s, theirs] for s in seeds])
    return float(together.mean() / (together.std(ddof=1) / np.sqrt(len(together))))


def figures(results: Sequence[Result], seconds: float) -> list[Figure]:
    """Return the figures of all results.

    Args:
        seconds: the budget of each search.
    """
    by_rank = ranks(results)
    found = [Figure(f"mean_rank_{tool}", rank, "rank") for tool, rank in by_rank.items()]
    for tool in by_rank:
        found += _of_tool(tool, [r for r in results if r.tool == tool], seconds)
    sets = sorted({r.set for r in results})
    found += [figure for name in sets for figure in _of_set(name, results)]
    return [*found, *(_of_ours(sets, results) if "ours" in by_rank else ())]


def _of_ours(sets: Sequence[str], results: Sequence[Result]) -> list[Figure]:
    """Return what only our search is asked: is it behind the defaults, and what does a trial cost.

    Of sets where LightGBM's defaults have a result too.
    """
    own = [r for r in results if r.tool == "ours"]
    note = "of our trials, beyond fits and judgement, after the first of an architecture"
    found = [
        Figure("trial_overhead_ms", float(np.nanmean([r.overhead_ms for r in own])), "ms", note),
        Figure("first_trial_overhead_ms", float(np.mean([r.first_ms for r in own])), "ms"),
    ]
    if "lightgbm" not in {r.tool for r in results}:
        return found
    worst = max((worse_than(results, "ours", "lightgbm", name), name) for name in sets)
    note = f"on {worst[1]}; above 2 is worse"
    return [Figure("worst_t_against_lightgbm", worst[0], "t", note), *found]


def _of_tool(tool: str, own: Sequence[Result], seconds: float) -> list[Figure]:
    """Return score, optimism and work of one tool."""
    promised = np.array([r.optimism for r in own if np.isfinite(r.optimism)])
    beyond, worked = [r.seconds - seconds for r in own], [r.process_seconds for r in own]
    return [
        Figure(f"score_{tool}", float(np.mean([r.score for r in own])), "share", "normalised"),
        Figure(f"optimism_{tool}", float(promised.mean()), "share", "search minus untouched"),
        Figure(f"surprise_{tool}", float(np.abs(promised).mean()), "share", "its mean size"),
        Figure(f"trials_{tool}", float(np.median([r.trials for r in own])), "", "median"),
        Figure(f"overrun_{tool}", float(np.median(beyond)), "s", f"median; most {max(beyond):.1f}"),
        Figure(f"process_{tool}", float(np.median(worked)), "s", "median of the whole process"),
    ]


def _of_set(name: str, results: Sequence[Result]) -> list[Figure]:
    """Return the median loss of each tool on the untouched rows of a set."""
    tools = sorted({r.tool for r in results})
    pairs = ((t, [r.untouched for r in results if (r.set, r.tool) == (name, t)]) for t in tools)
    return [Figure(f"{name}_{t}", float(np.median(found)), "loss") for t, found in pairs if found]
