"""Candidate: the value that `train` hands to `validate` and `convert`.

In one driver process it passes as a value. Between processes it passes as the artifacts of the
train run: `load_candidate` rebuilds the same value from them. It reads the bars again, and they
must have the same digest.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.method.rows import LabelledRows, OutOfFold
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import Dataset
from pipelines.recipes.manifest import Manifest
from pipelines.recipes.parity import FittedScores
from pipelines.recipes.recipe import Recipe
from registry.contract import ModelContract
from registry.decoder import ARRAYS_FILE, JSON_FILE, Decoder
from registry.errors import BarsError, RunNotFoundError
from registry.settings import PlatformSettings
from registry.version_files import CONTRACT_FILE, MANIFEST_FILE

VERSION_FOLDER = "version"
EVIDENCE_FILE = "evidence/out_of_fold.npz"
FITTED_FILE = "evidence/fitted_scores.npz"
"""What the fitted estimator said of the rows of parity; absent from earlier train runs."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fitted recipe with its evidence, not yet a version.

    `directory` holds the version's files; `oof` are the walk-forward predictions of the recipe.
    `fitted` is what its native artifact must say, None where no estimator was at hand to ask.
    """

    run_id: str
    directory: Path
    source: SourceParameters
    wanted: RecipeParameters
    recipe: Recipe
    contract: ModelContract
    decoder: Decoder
    dataset: Dataset
    oof: OutOfFold
    fitted: FittedScores | None = None


def save_evidence(oof: OutOfFold) -> bytes:
    """Return the out-of-fold scores keyed by symbol number and time, as an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, scores=oof.scores, fold=oof.fold, t0=oof.rows.t0, symbol=oof.rows.symbol
    )
    return buffer.getvalue()


def load_evidence(content: bytes, rows: LabelledRows) -> OutOfFold:
    """Return the predictions that `save_evidence` wrote, joined to their rows.

    Raises:
        BarsError: a stored prediction has no row: the data is not what was trained on.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        scores, fold = stored["scores"], stored["fold"]
        keys = list(zip(stored["t0"].tolist(), stored["symbol"].tolist(), strict=True))
    position = {
        k: i for i, k in enumerate(zip(rows.t0.tolist(), rows.symbol.tolist(), strict=True))
    }
    try:
        index = np.array([position[k] for k in keys], dtype=np.intp)
    except KeyError as exc:
        raise BarsError("the bars differ from those of the train run", hint="train again") from exc
    return OutOfFold(rows.take(index), scores, fold)


def write_files(directory: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files below a directory, making folders as needed."""
    for name, content in files:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@dataclass(frozen=True, slots=True)
class TrainRun:
    """What a finished train run has stored, nothing of it computed again.

    `directory` holds the version's files, `evidence` is the content of the evidence file, `fitted`
    what the fitted estimator said of the rows of parity.
    """

    run_id: str
    directory: Path
    contract: ModelContract
    manifest: Manifest
    evidence: bytes
    fitted: FittedScores | None

    @property
    def source(self) -> SourceParameters:
        """The data that the run asked for."""
        return SourceParameters(**self.manifest.source)

    @property
    def wanted(self) -> RecipeParameters:
        """The recipe that the run asked for."""
        return RecipeParameters(**self.manifest.recipe)


def fetch_train_run(run_id: str, directory: Path) -> TrainRun:
    """Copy what a train run has stored into an empty folder.

    Raises:
        RunNotFoundError: no such run, or it is not a finished train run.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        local = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(directory)))
    except (MlflowException, OSError) as exc:
        raise RunNotFoundError(run_id, "artifacts of a train run") from exc
    version, evidence = local / VERSION_FOLDER, local / EVIDENCE_FILE
    if not (version / CONTRACT_FILE).is_file() or not evidence.is_file():
        raise RunNotFoundError(run_id, "artifacts of a train run")
    contract = ModelContract.from_json((version / CONTRACT_FILE).read_text())
    manifest = Manifest.from_json((version / MANIFEST_FILE).read_text())
    kept = local / FITTED_FILE
    fitted = FittedScores.from_bytes(kept.read_bytes()) if kept.is_file() else None
    return TrainRun(run_id, version, contract, manifest, evidence.read_bytes(), fitted)


def load_candidate(run_id: str, settings: PlatformSettings, directory: Path) -> Candidate:
    """Rebuild the candidate of a finished train run.

    Args:
        directory: an empty folder that outlives the candidate; artifacts are copied there.

    Raises:
        RunNotFoundError: no such run, or it is not a finished train run.
        BarsError: the source now gives other bars than the run saw.
    """
    run = fetch_train_run(run_id, directory)
    contract, version, source, wanted = run.contract, run.directory, run.source, run.wanted
    recipe, dataset = read_dataset(source, wanted, settings)
    if (found := dataset.data.digest()) != contract.data.sha256:
        problem = f"the data have digest {found[:12]} but the run saw {contract.data.sha256[:12]}"
        raise BarsError(problem, source.source, "train again")
    recipe = replace(recipe, parameters=contract.parameters)
    decoder = Decoder.from_files({n: (version / n).read_bytes() for n in (JSON_FILE, ARRAYS_FILE)})
    oof = load_evidence(run.evidence, dataset.rows)
    return Candidate(
        run_id, version, source, wanted, recipe, contract, decoder, dataset, oof, run.fitted
    )
