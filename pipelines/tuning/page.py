"""The page of a study, and its pictures: verdict, leaderboard, history, what mattered.

Made of the report's own parts (`pipelines/report`), so it needs no network and looks as the page of
a version does.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

import numpy as np
import optuna
import plotly.graph_objects as go
import polars as pl
from optuna.trial import FrozenTrial, TrialState

from pipelines.report import Blocks, Chart, Grid, Remark
from pipelines.report.page import document, shown_block
from pipelines.report.png import drawn
from pipelines.report.style import BLUE, GREEN, RED, figure, label, numbers
from pipelines.tuning.decision import EXPECTED, Decision
from pipelines.tuning.leaderboard import OF_ALL, line_of
from pipelines.tuning.metrics import HIGHER_IS_BETTER, Metric
from pipelines.tuning.runs import RUN_NAME, Parent
from pipelines.tuning.space import ARCHITECTURE
from pipelines.tuning.studies import place_of, point_of
from registry.mlflow_failures import answering

PAGE, TABLE = "study.html", "leaderboard.csv"
LEAST_TRIALS = 10
"""Complete trials below which an importance says nothing."""
SEED = 0
MARGIN = 0.06
"""Share of an axis that is left free on either side."""
FORMATS = {"score": ".5g", "gain": ".4g", "z": ".2f", "deflated_sharpe": ".3f", "limit": ".2f"}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page; its first chart is also a picture of this name."""

    name: str
    title: str
    reading: str
    blocks: Blocks


def sections(
    study: optuna.Study, board: pl.DataFrame, decision: Decision, metrics: Sequence[Metric]
) -> tuple[Section, ...]:
    """Return the parts of the page that have something to show."""
    trials, metric = study.get_trials(deepcopy=False), metrics[0]
    found = (
        Section(
            "decision",
            "Decision",
            "The best trial is asked twice: as one of all trials that were ever counted on these "
            "data, and on the newest period, which the search has not read. By one loss a later "
            "trial is chosen before an earlier one only where it is better by more than one "
            "standard error, or alone significant, so it need not be the first of the leaderboard.",
            _decision(decision, metric),
        ),
        Section(
            "front",
            "Pareto front",
            "Trials that no other one is better than by every objective. The best by "
            f"{label(metric.name)}, which was named first before the search, is the one that is "
            "judged: the untouched period is looked at once, and not to choose on the front.",
            _front(board, decision, metrics),
        ),
        Section(
            "history",
            "Optimisation history",
            "The score of each complete trial, and the best so far.",
            _histories(trials, metrics),
        ),
        Section(
            "importance",
            "What mattered",
            f"Share of the variance of {label(metric.name)} that each dimension explains "
            "(functional ANOVA, Hutter, Hoos and Leyton-Brown 2014).",
            _importance(study, trials, decision.best),
        ),
        Section(
            "leaderboard",
            "Leaderboard",
            "Gain is over the template's baseline; limit is what z, or the deflated Sharpe ratio, "
            "must reach as one of all trials. A gap is by how much a trial is better than what "
            "it is named after.",
            (Remark(_of_all(decision)), Grid(_filled(board), _formats(board))),
        ),
    )
    return tuple(section for section in found if section.blocks)


def render(title: str, lead: str, parts: Sequence[Section]) -> str:
    """Return the page as HTML."""
    ids = (f"chart{n}" for n in count())
    shown = "".join(
        f'<section class="panel wide" id="{part.name}"><h3>{escape(part.title)}</h3>'
        f'<p class="reading">{part.reading}</p>'
        f"{''.join(shown_block(block, ids) for block in part.blocks)}</section>"
        for part in parts
    )
    head = (
        f'<header><div class="in"><div class="over">study</div><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p></div></header>'
    )
    return document(f"{title}: study", head, f'<main><div class="grid">{shown}</div></main>')


def log_page(
    parent: Parent, page: str, parts: Sequence[Section], board: pl.DataFrame, *, is_ours: bool
) -> None:
    """Log page, leaderboard and pictures to the run of the study.

    Args:
        is_ours: whether it is this process's own run; if a worker that was killed or has left
            began it, it ends here: a study that is decided has not failed with that worker.
    """
    client = parent.client()
    with answering(parent.uri):
        if not is_ours:
            client.set_tag(parent.run_id, RUN_NAME, f"tune {parent.study}")
            client.set_terminated(parent.run_id)
        client.log_text(parent.run_id, page, PAGE)
        client.log_text(parent.run_id, board.write_csv(), TABLE)
        for part in parts:
            charts = [block for block in part.blocks if isinstance(block, Chart)]
            if charts:
                picture = drawn(charts[0], part.title)
                client.log_figure(parent.run_id, picture, f"pictures/{part.name}.png")


# Parts -----------------------------------------------------------------------------------------


def _decision(decision: Decision, metric: Metric) -> Blocks:
    verdict = decision.verdict
    lines = [
        ("searched", verdict.search_score, verdict.search, verdict.of_search),
        ("untouched", verdict.untouched_score, verdict.untouched, verdict.of_untouched),
    ]
    frame = pl.DataFrame(
        [
            {
                "data": name,
                metric.name: score,
                "gain": skill and skill.gain,
                "gain_from": skill and skill.lower,
                "gain_to": skill and skill.upper,
                "times": skill and skill.n_times,
                "asked": asked.note if asked else "not looked at: nothing to confirm",
                "value": asked and asked.value,
                "limit": asked and asked.limit,
                "passed": ("yes" if asked.passed else "no") if asked else None,
            }
            for name, score, skill, asked in lines
        ]
    )
    bias = pl.DataFrame(
        {
            "measure": [name.replace("_", " ") for name in decision.bias],
            "value": [float(value) for value in decision.bias.values()],
        },
        schema={"measure": pl.String(), "value": pl.Float64()},
    )
    said = "found" if verdict.found else "nothing found"
    best = Remark(_best(decision.best))
    return (Remark(f"{said}: {verdict.reason}."), best, Grid(frame), Grid(bias))


def _best(trial: FrozenTrial) -> str:
    """Say which trial is the best one, and its recipe."""
    line = line_of(trial)
    recipe = ", ".join(part for part in (line["feature_set"], line["parameters"]) if part)
    return (
        f"Best trial {line['trial']}: {line['architecture']} ({recipe}), "
        f"window {line['window']}, horizon {line['horizon']}."
    )


def _of_all(decision: Decision) -> str:
    """Return what all trials together say of the best score."""
    counted, bias = decision.family.n_trials, decision.bias
    parts = [f"{counted:,} trials of these data were ever counted"]
    if (effective := bias.get("n_effective_trials")) is not None:
        parts.append(
            f"by their returns they are as good as {effective:.1f} independent ones (N_eff)"
        )
    if decision.recipe.template.is_action:
        pbo, few = bias.get("pbo"), "not known for fewer than ten distinguishable trials"
        found = few if pbo is None else f"{pbo:.2f}"
        parts.append(f"probability of backtest overfitting (PBO): {found}")
    if (expected := bias.get(EXPECTED)) is not None:
        parts.append(f"score to be expected of a choice among them: {expected:.5g}")
    return "; ".join(parts) + "."


def _filled(board: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of which at least one trial has a value, without what all have alike."""
    own = board.drop(OF_ALL)
    shown = own.select(name for name in own.columns if own[name].count())
    return shown.with_columns(
        pl.when(pl.col(name)).then(pl.lit("yes")).when(~pl.col(name)).then(pl.lit("no")).alias(name)
        for name, kind in shown.schema.items()
        if kind == pl.Boolean()
    )


def _formats(board: pl.DataFrame) -> dict[str, str]:
    named = {n: ".4g" for n in board.columns if n.startswith("gap_") or n in HIGHER_IS_BETTER}
    return named | FORMATS


def _front(board: pl.DataFrame, decision: Decision, metrics: Sequence[Metric]) -> Blocks:
    """Draw the first objective against each further one."""
    first, *others = metrics
    complete = board.filter(pl.col("score").is_not_null()).rename({"score": first.name})
    blocks: list[Chart | Grid | Remark] = []
    for other in others:
        pair = complete.filter(pl.col(other.name).is_not_null())
        chart = figure(label(other.name), label(first.name), hovermode="closest")
        chosen = pl.col("trial") == place_of(decision.best) + 1
        line = pair.filter("front").sort(other.name)
        for name, part, style in (
            ("trial", pair.filter(~pl.col("front")), {"size": 6, "color": BLUE, "opacity": 0.5}),
            ("front", line, {"size": 8, "color": GREEN}),
            ("judged", pair.filter(chosen), {"size": 15, "color": RED, "symbol": "star"}),
        ):
            x, y = numbers(part[other.name]), numbers(part[first.name])
            mode = "markers+lines" if name == "front" and len(others) == 1 else "markers"
            said = [f"trial {n}" for n in part["trial"]]
            dots = go.Scatter(x=x, y=y, mode=mode, name=name, marker=style, text=said)
            chart.add_trace(dots.update(line={"color": style["color"], "width": 1.2}))
        scores, kept = pair[first.name], line[first.name]
        blocks += _without_far(Chart(chart, 340), scores, first, kept=kept)
    if others:
        shown = ["trial", first.name, *(other.name for other in others), "architecture"]
        blocks.append(Grid(complete.filter("front").select(*shown, "parameters"), _formats(board)))
    return tuple(blocks)


def _histories(trials: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> Blocks:
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=place_of)
    if not complete:
        return ()
    charts: list[Chart | Grid | Remark] = []
    for at, metric in enumerate(metrics):
        charts += _history(complete, metric, at)
    n_pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    remark = f"{len(complete)} complete trials; {n_pruned} were given up early."
    return *charts, Remark(remark)


def _history(complete: Sequence[FrozenTrial], metric: Metric, at: int) -> Blocks:
    places = [place_of(trial) + 1 for trial in complete]
    scores = pl.Series([trial.values[at] for trial in complete], dtype=pl.Float64)
    best = scores.cum_max() if metric.higher_is_better else scores.cum_min()
    chart = figure("trial", metric.name.replace("_", " "), hovermode="closest")
    dots = {"size": 6, "color": BLUE}
    chart.add_trace(
        go.Scatter(x=places, y=numbers(scores), mode="markers", name="trial", marker=dots)
    )
    line = {"color": GREEN, "width": 1.6}
    chart.add_trace(go.Scatter(x=places, y=numbers(best), mode="lines", name="best", line=line))
    return _without_far(Chart(chart, 320), scores, metric)


def _without_far(
    chart: Chart, scores: pl.Series, metric: Metric, *, kept: pl.Series | None = None
) -> Blocks:
    """Let the upright axis leave out trials that are far worse than the others, and say so.

    Far is beyond Tukey's outer fence: three times the middle half's width behind it.

    Args:
        kept: scores that the axis shows, however far they are.
    """
    losses = scores.to_numpy() * (-1.0 if metric.higher_is_better else 1.0)
    if len(losses) == 0:
        return (chart,)
    first, third = np.quantile(losses, (0.25, 0.75))
    is_near = losses <= third + 3 * (third - first)
    if kept is not None:
        is_near |= np.isin(scores.to_numpy(), kept.to_numpy())
    low, high = losses[is_near].min(), losses[is_near].max()
    n_far = int((losses > high).sum())
    if n_far == 0 or not low < high:
        return (chart,)
    margin = MARGIN * (high - low)
    ends = [float(low - margin), float(high + margin)]
    chart.figure.update_yaxes(range=[-ends[1], -ends[0]] if metric.higher_is_better else ends)
    return chart, Remark(f"Far worse, and beyond the axis: {n_far} of {len(losses)} trials.")


def _importance(study: optuna.Study, trials: Sequence[FrozenTrial], best: FrozenTrial) -> Blocks:
    """Draw the dimensions of the winner's architecture, then those that all trials have."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    own = {name for name in best.params if name != ARCHITECTURE}
    common = {n for n in best.params if all(n in trial.params for trial in complete)}
    name = point_of(best)[ARCHITECTURE]
    blocks: list[Chart | Grid | Remark] = []
    for dimensions, whose in ((own, f"trials of {name}"), (common, "all trials")):
        found = _importances(study, complete, dimensions)
        if len(found) > 1:
            blocks += [Chart(_bars(found), 90 + 26 * len(found)), Remark(f"Over {whose}.")]
    few = f"Not computed: that takes {LEAST_TRIALS} complete trials of {name} that differ"
    return tuple(blocks) or (Remark(f"{few}, and two dimensions or more."),)


def _bars(found: Mapping[str, float]) -> go.Figure:
    names = sorted(found, key=lambda name: found[name])
    chart = figure("share of variance", "", hovermode="closest")
    values, texts = numbers(pl.Series([found[n] for n in names])), [label(n) for n in names]
    chart.add_trace(go.Bar(x=values, y=texts, orientation="h", marker={"color": BLUE}, name=""))
    return chart.update_layout(showlegend=False)


def _importances(
    study: optuna.Study, complete: Sequence[FrozenTrial], dimensions: Collection[str]
) -> dict[str, float]:
    """Return dimension -> importance over the trials that have all of them; empty for too few."""
    over = [t for t in complete if all(name in t.params for name in dimensions)]
    if len(over) < LEAST_TRIALS or len({_first(t) for t in over}) < 2 or not dimensions:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a dimension in which all trials are alike
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=sorted(dimensions), target=_first
        )


def _first(trial: FrozenTrial) -> float:
    """Return what a complete trial found by the objective that trials are chosen by."""
    return float(trial.values[0])
