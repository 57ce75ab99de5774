"""How often pruning gives a trial up that should have been kept, on recorded trials.

Reads a study that was searched without pruning (`python -m pipelines.tune --pruner none`), and lets
each pruner see its trials again, in several random orders: over folds, and where networks were
searched over epochs of the first fold, also where a search would not compare them there. False is a
trial given up that would have become the best so far; lost is what the best that is left falls
behind the best of all; saved are the folds that would not have been fitted.
"""

import argparse
import random
import warnings

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from bench.figures import Figure, report
from pipelines.tuning.epochs import EPOCH_RUNGS, KEPT, is_behind
from pipelines.tuning.studies import KeptStudy, pruner_of, result_of, should_prune
from registry.command_line import run
from registry.settings import PlatformSettings, read_settings

ORDERS = 20
Outcome = tuple[float, float, float, float]
"""The share given up, that of them which is false, the share of folds saved, and what is lost."""


def main() -> None:
    """Replay and report."""
    parser = argparse.ArgumentParser("python -m bench.pruning", description=__doc__)
    parser.add_argument("--study", required=True, help="study searched with pruner none")
    name = parser.parse_args().study
    folder = read_settings(PlatformSettings).tuning_dir / name
    if not folder.exists():
        parser.error(f"there is no study {name!r} in {folder.parent}")
    trials = [t for t in KeptStudy(folder, name).ended() if t.state == TrialState.COMPLETE]
    figures = [f for pruner in ("wilcoxon", "halving") for f in replayed(pruner, trials)]
    figures += correlation(trials)
    report("pruning", figures, {"study": name, "trials": len(trials), "orders": ORDERS})


def replayed(pruner: str, trials: list[FrozenTrial]) -> list[Figure]:
    """Return what a pruner does to these trials, on average over the orders."""
    losses = [result_of(trial)["fold_losses"] for trial in trials]
    seen = [
        _of_order(pruner, random.Random(seed).sample(losses, len(losses))) for seed in range(ORDERS)
    ]
    found = _figures(pruner, seen, f"of {len(trials)} trials, {len(losses[0])} folds")
    rungs = [result_of(trial).get(EPOCH_RUNGS, []) for trial in trials]
    if not all(rungs):
        return found
    pairs = list(zip(losses, rungs, strict=True))
    over_epochs = [
        _over_epochs(pruner, random.Random(seed).sample(pairs, len(pairs)))
        for seed in range(ORDERS)
    ]
    return found + _figures(f"{pruner}_epochs", over_epochs, "the first fold's epochs alone")


def correlation(trials: list[FrozenTrial]) -> list[Figure]:
    """Return how much the validation loss of the first fold's fit says; nothing of no networks."""
    found = [result_of(trial) for trial in trials]
    if not all(EPOCH_RUNGS in result for result in found):
        return []
    pairs = [(result[EPOCH_RUNGS][-1], np.mean(result["fold_losses"])) for result in found]
    value = float(np.corrcoef(pairs, rowvar=False)[0, 1])
    return [Figure("epochs_correlation", value, "", "lowest validation loss there, and the loss")]


def _figures(name: str, seen: list[Outcome], note: str) -> list[Figure]:
    given_up, false, saved, lost = np.mean(seen, axis=0).tolist()
    return [
        Figure(f"{name}_pruned_share", given_up, "share", f"{note}, {ORDERS} orders"),
        Figure(f"{name}_false_share", false, "share", "of those given up"),
        Figure(f"{name}_folds_saved_share", saved, "share"),
        Figure(f"{name}_lost", lost, "loss"),
    ]


def _over_epochs(pruner: str, trials: list[tuple[list[float], list[float]]]) -> Outcome:
    """Return the outcome of pruning over the first fold's epochs, given losses and rungs."""
    earlier: list[list[float]] = []
    folds = []
    for losses, rungs in trials:
        ends = (n for n in range(1, len(rungs) + 1) if is_behind(rungs[:n], earlier, KEPT[pruner]))
        end = next(ends, None)
        earlier.append(rungs[:end])
        folds.append(len(losses) if end is None else 0)
    return _outcome([losses for losses, _ in trials], folds)


def _of_order(pruner: str, losses: list[list[float]]) -> Outcome:
    return _outcome(losses, _folds_fitted(pruner, losses))


def _outcome(losses: list[list[float]], folds: list[int]) -> Outcome:
    means = [float(np.mean(values)) for values in losses]
    best, n_pruned, n_false = np.inf, 0, 0
    for values, fitted, mean in zip(losses, folds, means, strict=True):
        if fitted == len(values):
            best = min(best, mean)
            continue
        n_pruned += 1
        n_false += mean < best
    saved = 1 - sum(folds) / sum(len(values) for values in losses)
    lost = best - min(means)
    return n_pruned / len(losses), n_false / max(1, n_pruned), saved, lost


def _folds_fitted(pruner: str, losses: list[list[float]]) -> list[int]:
    """Return how many folds of each trial would have been fitted, one after the other."""
    study = optuna.create_study(direction="minimize", pruner=pruner_of(pruner))
    fitted = []
    for values in losses:
        trial, n, state = study.ask(), 0, TrialState.COMPLETE
        for n, value in enumerate(values, start=1):
            shown = value if pruner == "wilcoxon" else float(np.mean(values[:n]))
            trial.report(shown, n)
            if n < len(values) and should_prune(trial):
                state = TrialState.PRUNED
                break
        study.tell(trial, None if state == TrialState.PRUNED else float(np.mean(values)), state)
        fitted.append(n)
    return fitted


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    run(main)
