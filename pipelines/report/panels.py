"""Every panel of the page in reading order."""

from pipelines.method.information import DECAY_TABLE
from pipelines.report import (
    Panel,
    artifacts,
    forecasts,
    probabilities,
    provenance,
    returns,
    risk,
    states,
    trials,
)

MONEY, LUCK, CHANCE = "Returns", "Multiple testing", "Probabilities"
FORECAST, RISK, STATES, ORIGIN = "Forecasts", "Risk", "States and alarms", "Evidence"

PANELS: tuple[Panel, ...] = (
    Panel(
        "equity", MONEY, "Wealth, net of costs, against buy and hold",
        "Out of fold. Net is what the gates judge; active is net minus beta times the equal-weight "
        "universe. The distance between gross and net is what trading costs.",
        ("equity",), returns.equity,
    ),
    Panel(
        "drawdown", MONEY, "Drawdowns",
        "How far wealth lies below its highest so far, and the deepest spells of net.",
        ("equity",), returns.drawdowns,
    ),
    Panel(
        "rolling_sharpe", MONEY, "Rolling Sharpe ratio",
        "A band that holds zero says that a year of these returns cannot be told from luck.",
        ("equity",), returns.rolling_sharpe,
    ),
    Panel(
        "cost_grid", MONEY, "What costs leave",
        "The same decisions with costs at 0, 1, 2 and 3 times what is assumed. The gate asks for "
        "a positive value at 2.",
        ("cost_grid",), returns.cost_grid, is_wide=False,
    ),
    Panel(
        "months", MONEY, "Net return per month",
        "One good month should not carry a year.",
        ("equity",), returns.months, is_wide=False,
    ),
    Panel(
        "years", MONEY, "Per year",
        "Calendar years of the out-of-fold span; the first and last may be incomplete.",
        ("equity",), returns.years,
    ),
    Panel(
        "trading", MONEY, "Turnover and what it costs",
        "Multiples of the capital traded per year, and the share of capital that costs have taken.",
        ("returns",), returns.trading,
    ),
    Panel(
        "deflated", LUCK, "Deflated Sharpe ratio",
        "The best of N worthless recipes has a positive Sharpe ratio by luck: the hurdle. N is "
        "counted by the engine: every recipe ever validated on these data, under whatever name.",
        ("trials",), trials.deflated, metrics=("deflated_sharpe",),
    ),
    Panel(
        "overfitting", LUCK, "What choosing the best recipe is worth",
        "Over all halves of the history: the recipe that was best in one half, in the other. The "
        "gate asks that fewer than a quarter of them lose there.",
        ("choice_loss",), trials.overfitting, metrics=("choice_loss",),
    ),
    Panel(
        "scores", CHANCE, "Scores against the prior",
        "A negative t says that the model's probabilities beat class frequencies of the training "
        "slice; below -1.645 with 95 % confidence.",
        (), probabilities.classes, metrics=("log_loss", "brier"),
    ),
    Panel(
        "reliability", CHANCE, "Reliability",
        "Of all cases stated at a probability, how many came true. Above the diagonal the model "
        "is too modest, below it is too sure.",
        ("reliability",), probabilities.reliability, is_wide=False,
    ),
    Panel(
        "confusion", CHANCE, "Confusion",
        "Rows are what happened; the shares of a row add up to one.",
        ("confusion",), probabilities.confusion, is_wide=False,
    ),
    Panel(
        "coverage", CHANCE, "Coverage of the interval per fold",
        "Grey is how far chance alone moves the promised coverage in a fold of that size, if rows "
        "were independent; overlapping labels move correct intervals further.",
        ("coverage",), probabilities.coverage,
    ),
    Panel(
        "coverage_over_time", CHANCE, "Coverage over time",
        "An interval that holds on average may still fail for months.",
        ("coverage_over_time",), probabilities.coverage_over_time,
    ),
    Panel(
        "rivals", FORECAST, "Against its rivals",
        "Mean loss of each, and the t of the difference per date (below -1.645: 95 % sure).",
        ("rivals",), forecasts.rivals,
        metrics=("dm_t_ewma", "dm_t_random_walk", "dm_t_historical"),
    ),
    Panel(
        "loss_per_year", FORECAST, "Score per year",
        "Skill that lives in one year only is not skill.",
        forecasts.PER_YEAR, forecasts.per_year,
    ),
    Panel(
        "over_time", FORECAST, "Forecast and outcome over time",
        "Drag the strip below to look closer.",
        ("forecast_vs_realised",), forecasts.over_time,
    ),
    Panel(
        "scatter", FORECAST, "Is the forecast unbiased at every level",
        "Bins of equal size; on the diagonal the forecast is right on average.",
        ("forecast_vs_realised",), forecasts.scatter, is_wide=False,
    ),
    Panel(
        "groups", FORECAST, "Groups by forecast",
        "Ten groups of equal size: both bars rise together where the forecast knows something.",
        forecasts.GROUPED, forecasts.groups, is_wide=False,
    ),
    Panel(
        "decay", FORECAST, "Information coefficient and its decay",
        "Information coefficient (Pearson) and rank coefficient (Spearman) of forecast and outcome "
        "across symbols, by the horizon of the outcome.",
        (DECAY_TABLE,), forecasts.decay, is_wide=False,
    ),
    Panel(
        "backtest", RISK, "Value at risk, day by day",
        "The judged portfolio: days beyond VaR should be as many as promised, and not in clusters.",
        ("var_over_time",), risk.backtest,
    ),
    Panel(
        "hits", RISK, "Hits per year",
        "Many hits in one year say that the forecast reacted too late.",
        ("hits_per_year",), risk.hits,
    ),
    Panel(
        "regimes", STATES, "Regimes",
        "Filtered: each day uses nothing later than that day. States are in the order of their "
        "variance; a regime of today may be acted on tomorrow at the earliest.",
        ("regime_probabilities",), states.regimes,
    ),
    Panel(
        "transitions", STATES, "Transitions",
        "How often each regime (column) came on the bar after a regime (row).",
        ("transitions",), states.transitions, is_wide=False,
    ),
    Panel(
        "alarms", STATES, "Alarms over time",
        "Share of symbols whose p-value was at or below the stated rate. Alarms on many "
        "symbols at once are one event, not many.",
        ("alarms_over_time",), states.alarms,
    ),
    Panel(
        "alarm_rate", STATES, "Alarms per year",
        "The rate of false alarms is promised for days like those of training.",
        ("alarms_per_year",), states.alarm_rate,
    ),
    Panel(
        "challenge", FORECAST, "Against the champion",
        "Days that neither fit has seen. The line that ends lower is the better one.",
        ("challenge",), forecasts.challenge,
    ),
    Panel(
        "folds", ORIGIN, "Fold map",
        "Each fold is fitted on its blue span only and tested on its red one; between them lie "
        "rows whose label would reach into the test.",
        ("fold_map",), provenance.folds,
    ),
    Panel(
        "importance", ORIGIN, "Importance",
        "Of the final fit; shares add up to one. Correlated features split theirs.",
        ("importance",), provenance.importance, is_wide=False,
    ),
    Panel(
        "per_symbol", ORIGIN, "Per symbol",
        "Click a heading to sort.",
        ("per_symbol",), provenance.per_symbol, is_wide=False,
    ),
    Panel(
        "artifacts", ORIGIN, "Artifacts beside native",
        "How far each artifact's scores are from native's at most, and why others are missing.",
        ("artifacts",), artifacts.compared,
    ),
    Panel(
        "files", ORIGIN, "Files",
        "Sizes before MLflow's own files are added.",
        ("files",), artifacts.files, is_wide=False,
    ),
    Panel(
        "specifications", ORIGIN, "How to make it again",
        "`replay` refits from these and compares the predictions.",
        (), provenance.specifications,
    ),
    Panel(
        "measures", ORIGIN, "Every metric",
        "As logged to MLflow; what each means is in the template's page of the documentation.",
        (), provenance.measures, is_wide=False,
    ),
)  # fmt: skip

SHOWN_BESIDE = ("regimes", "market", "most_unusual", "per_year")
KNOWN_TABLES = frozenset(SHOWN_BESIDE).union(*(panel.needs for panel in PANELS))
"""Tables that a panel draws; any other table is shown as it is."""
