"""Networks of a search are given up at an epoch where others had learned more by then."""

import json
from types import SimpleNamespace

import pytest

from pipelines.parameters import RecipeParameters
from pipelines.recipes.recipe import Recipe
from pipelines.tuning import epochs
from pipelines.tuning.epochs import (
    EPOCH_RUNGS,
    RUNGS,
    BehindError,
    EpochRungs,
    is_behind,
    rungs_of,
)
from pipelines.tuning.fold_trials import predict_folds
from pipelines.tuning.shared_rows import SharedRows

TEN = [[float(loss)] for loss in range(10)]


@pytest.mark.parametrize(
    ("reached", "others", "kept", "behind"),
    [
        ([8.2], TEN, 0.9, True),  # beyond the quantile at 0.9, which is 8.1
        ([8.0], TEN, 0.9, False),
        ([4.6], TEN, 0.5, True),
        ([99.0], TEN[1:], 0.9, False),  # of nine nothing is said
        ([0.0, 99.0], TEN, 0.9, False),  # none of them has come to the second rung
        ([0.0, 99.0], [[9.0, loss] for (loss,) in TEN], 0.9, True),
        ([99.0], TEN, None, False),
    ],
)
def test_behind_is_who_is_not_among_the_share_that_goes_on(reached, others, kept, behind):
    assert is_behind(reached, others, kept) is behind


def report(rungs, losses, name="fold 1"):
    context = rungs.context(name)
    for epoch, loss in enumerate(losses, start=1):
        context.report(epoch, {"train_loss": 0.0, "validation_loss": loss})


def test_the_lowest_loss_so_far_counts_and_a_fit_that_stopped_counts_with_it():
    rungs = EpochRungs("wilcoxon")
    report(rungs, [5, 4, 3, 9, 9, 9, 9, 9, 9, 2])
    assert rungs.reached(is_whole=True) == [3.0] + [2.0] * (len(RUNGS) - 1)
    assert rungs.reached(is_whole=False) == [3.0]
    report(rungs, [1] * 20, "fold 2")
    assert rungs.reached(is_whole=True) == [3.0] + [2.0] * (len(RUNGS) - 1)
    assert EpochRungs("wilcoxon").reached(is_whole=True) == []


def test_a_fit_ends_at_the_rung_where_it_is_behind_and_no_later_fold_does():
    rungs, seen = EpochRungs("wilcoxon", TEN, lambda: seen.append(1)), []
    with pytest.raises(BehindError):
        report(rungs, [9.5] * 20)
    assert (len(seen), rungs.reached(is_whole=False)) == (8, [9.5])
    ahead = EpochRungs("wilcoxon", TEN)
    report(ahead, [1] * 20)
    report(ahead, [99] * 20, "fold 2")
    report(EpochRungs("none", TEN), [99] * 20)


def test_what_is_raised_after_an_epoch_ends_any_fit():
    rungs, left = EpochRungs("none", each=lambda: left.pop()), [1] * 12
    report(rungs, [1] * 10)
    with pytest.raises(IndexError):
        report(rungs, [1] * 10, "fold 2")


def trial(architecture, result):
    taken = {"point": {"architecture": architecture}}
    return SimpleNamespace(user_attrs={"taken": taken, "result": result})


def test_compared_are_trials_of_one_architecture():
    trials = [trial(name, {EPOCH_RUNGS: [1.0]}) for name in ("mlp", "gru", "mlp")]
    trials.append(trial("mlp", {}))  # of a release before
    assert rungs_of(trials, "mlp") == [[1.0], [1.0]]


@pytest.mark.integration
def test_a_real_network_is_given_up_in_its_first_fold(make_bars):
    wanted = RecipeParameters(
        "return_forecast",
        "mlp",
        "returns",
        horizon=1,
        parameters=json.dumps({"epochs": 12, "patience": 12}),
    )
    recipe = Recipe.resolve(wanted)
    prepared = SharedRows(make_bars(n=1200), "").of(recipe)
    rows, folds = prepared.dataset.rows, prepared.folds()
    rungs = EpochRungs("wilcoxon", [[0.0]] * epochs.FEWEST)
    predicted = predict_folds(recipe, rows, folds, context_of=rungs.context)
    assert predicted.was_pruned and predicted.parts == [] and predicted.fit_seconds > 0
    assert len(rungs.reached(is_whole=False)) == 1
