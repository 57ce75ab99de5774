"""Every panel of the page in reading order."""

from pipelines.report import Panel, forecasts, probabilities, provenance, returns, trials

MONEY, LUCK, CHANCE = "Returns", "Multiple testing", "Probabilities"
FORECAST, ORIGIN = "Forecasts", "Evidence"

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
        "deflated", LUCK, "Deflated Sharpe ratio",
        "The best of N worthless recipes has a positive Sharpe ratio by luck: the hurdle. N is "
        "counted by the engine over the family and includes every recipe ever validated.",
        ("deflated_sharpe", "n_trials", "trials"), trials.deflated,
    ),
    Panel(
        "overfitting", LUCK, "Probability of backtest overfitting",
        "Over all halves of the history: where the recipe that was best in one half ranks in the "
        "other. A logit at or below zero is the worse half.",
        ("pbo", "pbo_logits", "overfitting"), trials.overfitting,
    ),
    Panel(
        "scores", CHANCE, "Scores against the prior",
        "A negative t says that the model's probabilities beat class frequencies of the training "
        "slice; below -1.645 with 95 % confidence.",
        ("log_loss", "brier"), probabilities.classes,
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
        "Grey is what chance does to the promised coverage in a fold of that size, rows taken as "
        "independent; overlapping labels make honest intervals stray further.",
        ("coverage",), probabilities.coverage,
    ),
    Panel(
        "coverage_over_time", CHANCE, "Coverage over time",
        "An interval that holds on average may still fail for months.",
        ("coverage_over_time",), probabilities.coverage_over_time,
    ),
    Panel(
        "rivals", FORECAST, "Against its rivals",
        "Mean loss of each, and the t of the difference per date with Newey-West variance.",
        ("dm_t_ewma", "dm_t_scaled_ewma", "dm_t_random_walk", "dm_t_har", "dm_t_garch"),
        forecasts.rivals,
    ),
    Panel(
        "per_year", FORECAST, "Loss per year",
        "Skill that lives in one year only is not skill.",
        ("qlike_per_year", "loss_per_year"), forecasts.per_year,
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
        "information", FORECAST, "Information coefficient",
        "Correlation of forecast and outcome across the symbols of a date, summed up: a straight "
        "rise is steady skill.",
        ("information_coefficient",), forecasts.information, is_wide=False,
    ),
    Panel(
        "decay", FORECAST, "Decay",
        "How long a forecast goes on ranking the symbols.",
        ("ic_decay",), forecasts.decay, is_wide=False,
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
        "specifications", ORIGIN, "How to make it again",
        "`replay` refits from these and compares the predictions.",
        ("*",), provenance.specifications,
    ),
    Panel(
        "measures", ORIGIN, "Every metric",
        "As logged to MLflow; what each means is in the template's page of the documentation.",
        ("*",), provenance.measures, is_wide=False,
    ),
)  # fmt: skip

KNOWN_TABLES = frozenset(name for panel in PANELS for name in panel.needs)
"""Tables that a panel draws; any other table is shown as it is."""
