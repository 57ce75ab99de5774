"""A registered version as a candidate again, on the newest data.

The version's own files are what is checked and, as a challenger, what its recipe is compared by.
Its recipe is fitted again fold by fold, because the gates of quality judge out-of-fold predictions.
Nothing here is written into the version's folder.
"""

from dataclasses import replace
from datetime import UTC, datetime

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.candidate import Candidate
from pipelines.recipes.dataset import make_dataset
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.manifest import Manifest
from pipelines.recipes.recipe import Recipe, fit_folds
from registry.contract import ModelContract
from registry.errors import FingerprintMismatchError, ParameterError
from registry.settings import PlatformSettings
from registry.version_files import MANIFEST_FILE, VersionFiles

OWN, STORE = "", "store"
"""Where newer data are: in the version's own source, or among the bars of this engine."""


def registered_candidate(
    files: VersionFiles, run_id: str, read_from: str, settings: PlatformSettings
) -> Candidate:
    """Return a version as a candidate, with out-of-fold predictions on the newest data.

    Args:
        files: the version's; its folder must outlive the candidate.
        run_id: the run that made the version.
        read_from: `OWN` or `STORE`.

    Raises:
        ParameterError: another `read_from`.
        FingerprintMismatchError: this code computes other features than the version's.
        MLEngineError: the data cannot be read, or hold too little history; one line each.
    """
    contract = files.contract
    source = newest_source(files, read_from)
    wanted = RecipeParameters.of_contract(contract)
    recipe, kind = Recipe.of_contract(contract), kind_of(contract.template)
    kind.check(recipe)
    dataset = make_dataset(recipe, kind.read(source, wanted, settings), contract.first_test)
    _check_features(recipe, dataset, contract)
    oof = fit_folds(recipe, dataset.rows, dataset.folds)
    decoder = files.decoder
    return Candidate(
        run_id, files.directory, source, wanted, recipe, contract, decoder, dataset, oof
    )


def newest_source(files: VersionFiles, read_from: str) -> SourceParameters:
    """Return the source of a version, read to its newest data.

    Raises:
        ParameterError: another `read_from` than `OWN` or `STORE`.
    """
    if read_from == OWN:
        made_from = Manifest.from_json(files.read(MANIFEST_FILE).decode()).source
        return replace(SourceParameters(**made_from), end="")
    if read_from != STORE:
        raise ParameterError("read_from", read_from, f"nothing, for its own source, or {STORE}")
    contract = files.contract
    repeated = kind_of(contract.template).repeated(contract, datetime.now(UTC))
    if repeated.get("source") != STORE:
        raise ParameterError("read_from", read_from, "nothing: this template reads no bars")
    return SourceParameters(**{name: str(value) for name, value in repeated.items()})


def _check_features(recipe: Recipe, dataset: Dataset, contract: ModelContract) -> None:
    layout = kind_of(recipe.template).describe(recipe, dataset.data, dict(dataset.label_spec))
    if layout.fingerprint != contract.feature_fingerprint:
        raise FingerprintMismatchError(
            contract.feature_set, contract.feature_fingerprint, layout.fingerprint
        )
