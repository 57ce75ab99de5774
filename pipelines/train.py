"""Stage `train`: bars -> rows -> walk-forward evidence -> final fit -> a candidate in MLflow.

Logs the candidate's files under `version/`, its out-of-fold predictions under `evidence/`, and
what a person wants to see of a fit: fold map, importance. Judges nothing: `validate` does.
"""

import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines import progress
from pipelines.architectures import Estimator
from pipelines.data.bars import TIMESTAMP
from pipelines.method.rows import LabelledRows, newest_step
from pipelines.parameters import (
    RecipeParameters,
    SourceParameters,
    parse,
)
from pipelines.recipes import manifest
from pipelines.recipes.candidate import (
    EVIDENCE_FILE,
    FITTED_FILE,
    VERSION_FOLDER,
    Candidate,
    save_evidence,
    write_files,
)
from pipelines.recipes.contracts import contract_of
from pipelines.recipes.dataset import final_rows, read_dataset
from pipelines.recipes.golden_answers import answers_file, inputs_of, n_history
from pipelines.recipes.inputs import Dataset, InputKind, kind_of
from pipelines.recipes.kept_fits import kept_fits
from pipelines.recipes.parity import N_PARITY_ROWS, FittedScores, fitted_scores
from pipelines.recipes.recipe import Recipe, fit_folds
from pipelines.recipes.reference import (
    WINDOW_BARS,
    drift_profile,
    in_turn,
    recent_rows,
    rows_per_window,
)
from pipelines.recipes.trainable import check_trainable
from pipelines.report import pictures
from pipelines.report.gathering import of_fit
from pipelines.stage import (
    check_numbers,
    exit_with,
    log_metrics,
    platform_settings,
    stage_run,
)
from pipelines.templates import TEMPLATES
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.flavors import FLAVORS, NativeModel
from registry.settings import PlatformSettings
from registry.version_files import (
    ANSWERS_FILE,
    CONTRACT_FILE,
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
)

GROUPS = (SourceParameters, RecipeParameters)

N_GOLDEN_ROWS = 64
N_IMPORTANCE_ROWS = 2000
READ, FITTED = 0.05, 0.95
"""Shares of the stage after which the data are read and everything is fitted, for its progress."""


def train(
    source: SourceParameters,
    wanted: RecipeParameters,
    settings: PlatformSettings,
    directory: Path,
) -> Candidate:
    """Fit a recipe, log it, and return it as a candidate.

    Args:
        directory: an empty folder that outlives the candidate.

    Raises:
        MLEngineError: anything the caller can mend, in one line.
    """
    import mlflow

    with (
        stage_run("train", wanted.model_id, source, wanted) as run_id,
        progress.part("train"),
        ExitStack() as kept,
    ):
        started = perf_counter()
        recipe, dataset = read_dataset(source, wanted, settings)
        check_trainable(recipe, dataset)
        recipe = recipe.chosen(dataset.rows.take(dataset.folds[0].train))
        kind = kind_of(recipe.template)
        print(_account(recipe, dataset), flush=True)
        context_of = kept.enter_context(kept_fits(settings, recipe, dataset))
        until = _share_of_folds(len(dataset.folds))
        with progress.part("", READ, until):
            oof = fit_folds(recipe, dataset.rows, dataset.folds, context_of)
        rows = final_rows(recipe, dataset)
        with progress.part("final fit", until, FITTED):
            final = recipe.fit(rows, context_of("final"))
        decoder = recipe.template.complete(recipe.fit_decoder(oof, rows), final)
        contract = contract_of(recipe, dataset, source, final)
        importance = final.importance(kind.sample(dataset.rows, N_IMPORTANCE_ROWS))
        golden, native = kind.sample(dataset.rows, N_GOLDEN_ROWS), final.native()
        version = directory / VERSION_FOLDER
        files = {
            CONTRACT_FILE: contract.to_json().encode(),
            MANIFEST_FILE: manifest.collect(source, wanted, contract).to_json().encode(),
            GOLDEN_FILE: _golden(golden, final),
            ANSWERS_FILE: _answers(kind, dataset, contract, decoder, final.predict(golden)),
            **decoder.to_files(),
            **FLAVORS.get("native").write(native, contract),
            **kind.files(recipe, dataset),
            **_reference(kind, contract, dataset.rows, importance),
        }
        write_files(version, files.items())
        fitted = _fitted(kind, dataset, final, native)
        write_files(
            directory, [(EVIDENCE_FILE, save_evidence(oof)), (FITTED_FILE, fitted.to_bytes())]
        )
        mlflow.log_artifacts(str(directory))
        mlflow.set_tags(_tags(contract, dataset))
        log_metrics(
            {
                "rows": len(dataset.rows),
                "folds": len(dataset.folds),
                "out_of_fold_rows": len(oof.rows),
                "train_seconds": perf_counter() - started,
            }
        )
        candidate = Candidate(
            run_id, version, source, wanted, recipe, contract, decoder, dataset, oof, fitted
        )
        pictures.log_pictures(of_fit(candidate), pictures.OF_A_FIT)
    return candidate


def _share_of_folds(n_folds: int) -> float:
    """Return the share of the stage after which the folds are fitted, the final fit being one."""
    return READ + (FITTED - READ) * n_folds / (n_folds + 1)


def _account(recipe: Recipe, dataset: Dataset) -> str:
    rows, data = dataset.rows, dataset.data
    first, last = data.span()
    whose = f" of {len(data.symbols)} symbols" if data.symbols else ""
    return (
        f"train {recipe.template.name} with {recipe.architecture.name}: {len(rows):,} rows"
        f"{whose}, {first:%Y-%m-%d} to {last:%Y-%m-%d}, "
        f"{len(dataset.folds)} folds"
    )


def _golden(features: NDArray[np.float32], final: Estimator) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, features=features, scores=final.predict(features))
    return buffer.getvalue()


def _fitted(
    kind: InputKind, dataset: Dataset, final: Estimator, native: NativeModel
) -> FittedScores:
    """Return what the native artifact must say of the rows that convert compares it on."""
    reference = kind.sample(dataset.rows, N_PARITY_ROWS)
    return fitted_scores(final, native, reference, may_miss=kind.may_miss)


def _answers(
    kind: InputKind,
    dataset: Dataset,
    contract: ModelContract,
    decoder: Decoder,
    scores: NDArray[np.float32],
) -> bytes:
    """Return the golden answers of the golden rows, whose scores these are."""
    inputs = inputs_of(
        newest_step(kind.sample(dataset.rows, N_GOLDEN_ROWS)),
        scores,
        kind.sample_context(dataset.rows, N_GOLDEN_ROWS),
        kind.history(dataset.data, n_history(contract)),
    )
    return answers_file(TEMPLATES.get(contract.template), contract, decoder, inputs)


def _reference(
    kind: InputKind, contract: ModelContract, rows: LabelledRows, importance: NDArray[np.float64]
) -> dict[str, bytes]:
    """Return the reference panel and its drift thresholds.

    It holds at most the last 4 years. Rows without times are put one after another, as the
    prediction log has them. Only what is logged is watched.
    """
    newest = newest_step(rows.X)
    n_logged = kind.n_logged(contract)
    names = contract.feature_names[:n_logged]
    symbols, times = np.array(rows.symbols)[rows.symbol], rows.t0
    if not kind.has_times:
        symbols, times = np.full(len(rows), ""), in_turn(len(rows))
    every_row = pl.DataFrame(
        {
            "symbol": symbols,
            "timestamp": pl.Series(times).cast(TIMESTAMP),
            **{n: newest[:, i] for i, n in enumerate(names)},
        }
    )
    panel = recent_rows(every_row)
    weights = dict(zip(names, importance[:n_logged].tolist(), strict=True))
    buffer = io.BytesIO()
    panel.write_parquet(buffer)
    length = WINDOW_BARS if kind.has_times else rows_per_window(len(panel))
    profile = drift_profile(panel, weights, length)
    if not kind.is_watched:
        profile = replace(profile, n_blocks=0)
    return {REFERENCE_FILE: buffer.getvalue(), DRIFT_FILE: profile.to_json().encode()}


def _tags(contract: ModelContract, dataset: Dataset) -> dict[str, str]:
    return {
        "data_sha256": contract.data.sha256,
        "data_span": contract.data.span,
        "data_note": contract.data.note,
        "data_repairs": "; ".join(dataset.data.repairs),
        "feature_fingerprint": contract.feature_fingerprint,
        "git_commit": contract.git_commit,
        "lock_sha256": contract.lock_sha256,
        "trained_until": contract.data.shown(contract.trained_until),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    source, wanted = parse(argv, __doc__, *GROUPS)
    settings = platform_settings()
    check_numbers(settings, wanted.model_id)
    with TemporaryDirectory() as folder:
        candidate = train(source, wanted, settings, Path(folder))
    print(f"run {candidate.run_id}", flush=True)


if __name__ == "__main__":
    exit_with(main)
