"""Every template and every architecture through train, validate and convert, in process.

The pairs come from the catalogs, so a new one is covered without an edit here. Data and settings
are as small as they can be: nothing is expected of the models' quality, everything of the path.
That templates and architectures agree on a loss is tested for all pairs in test_matrix.py.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.architectures import ARCHITECTURES
from pipelines.main import make_version
from pipelines.parameters import (
    FlavorParameters,
    JudgementParameters,
    PromotionParameters,
    RecipeParameters,
    SourceParameters,
)
from pipelines.recipes.candidate import load_candidate
from pipelines.templates import TEMPLATES
from pipelines.templates.answer_fields import as_json
from registry.database import open_engine
from registry.gates import COMMON, GATES
from registry.settings import PlatformSettings
from registry.versions import Registry
from tests.conformance.small_data import SMALL_DATA

pytestmark = [pytest.mark.slow, pytest.mark.integration]

SMALL = {
    "rounds": 5, "epochs": 1, "n_estimators": 5, "batch_size": 256, "hidden": 8, "layers": 1,
    "heads": 2, "latent": 2, "nthread": 1, "width": 256, "min_data_in_leaf": 10,
    "min_samples_leaf": 10, "n_states": 2, "paths": 200, "patience": 1, "window": 250,
    "max_bins": 16,
}  # fmt: skip
"""Applied where an architecture has a parameter of that name."""
WINDOW = 4
FIRST_TEST = "2002-07-01"
"""Leaves some 250 rows to train on and 4 folds of a month."""
MAY_BE_LEFT_OUT = {
    *("parity.onnx.fp32", "parity.torchscript.fp32"),
    *("parity.coreml.fp32", "parity.coreml.fp16"),
}
"""Not every algorithm has a form in ONNX."""
USERS_OWN = ("directory",)
"""A parameter without a default that only a user can give: weights on their disk."""


def covering_pairs() -> list[tuple[str, str]]:
    """Pair every template with its default, and every other architecture with one template.

    That is the one with the fewest pairs so far, so that templates see several architectures.
    """
    pairs = [(template, TEMPLATES.get(template).architectures[0]) for template in TEMPLATES]
    for architecture in sorted({*ARCHITECTURES} - {default for _, default in pairs}):
        taking = [t for t in TEMPLATES if architecture in TEMPLATES.get(t).architectures]
        counts = Counter(template for template, _ in pairs)
        pairs.append((min(taking, key=counts.__getitem__), architecture))
    return sorted(pairs)


def source_of(template: str, architecture: str, folder: Path) -> tuple[SourceParameters, dict]:
    """Return the data of a pair and the options that go with them."""
    is_regression = "softmax" not in ARCHITECTURES.get(architecture).objectives
    return SMALL_DATA[TEMPLATES.get(template).inputs](folder, is_regression)


def small(template: str, architecture: str) -> dict:
    """Return the small values of the parameters that the architecture has.

    Skips where a parameter has no default because only a user can give it.
    """
    known = ARCHITECTURES.get(architecture).parameters(TEMPLATES.get(template).objective({}))
    if any(known.get(name) == "" for name in USERS_OWN):
        pytest.skip(f"{architecture} needs {' and '.join(USERS_OWN)} of a user")
    return {name: value for name, value in SMALL.items() if name in known}


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory,
    new_installation: Callable[[Path], PlatformSettings],
    enter: Callable[[pytest.MonkeyPatch, PlatformSettings], None],
):
    """One installation for every pair; each makes a model of its own."""
    place = tmp_path_factory.mktemp("pairs") / "var"
    settings = new_installation(place)
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, settings)
        patch.chdir(place)
        yield settings


@pytest.mark.parametrize(
    ("template", "architecture"),
    [pytest.param(*pair, marks=pytest.mark.xdist_group(pair[1])) for pair in covering_pairs()],
    ids=lambda name: name,
)
def test_a_pair_goes_through_every_stage(template, architecture, installation, tmp_path):
    chosen = ARCHITECTURES.get(architecture)
    parameters = small(template, architecture)
    source, options = source_of(template, architecture, tmp_path)
    wanted = RecipeParameters(
        template=template,
        architecture=architecture,
        first_test=FIRST_TEST if source.source == "synthetic" else "",
        window=WINDOW if chosen.default_window > 1 else 0,
        parameters=json.dumps(parameters),
        options=json.dumps(options) if options else "",
        model_name=f"{template}-{architecture}",
    )
    version, outcome = make_version(
        source,
        wanted,
        JudgementParameters(),
        PromotionParameters(),
        FlavorParameters(flavors="onnx"),
        installation,
    )
    assert outcome == "staging"
    check_version(version, template, architecture)
    check_registered(version, installation)
    check_answers(version, installation, tmp_path)


def check_version(version, template: str, architecture: str) -> None:
    contract, rows = version.contract, {row.gate: row for row in version.record}
    assert (contract.template, contract.architecture) == (template, architecture)
    assert contract.native_format == ARCHITECTURES.get(architecture).native_format
    needed = (*COMMON.serve, *GATES.get(template).serve, *GATES.get(template).trade)
    assert {n.gate for n in needed} - set(rows) == set()
    common = {requirement.gate for requirement in COMMON.serve}
    judged = [row for row in version.record if row.gate in common or "parity." in row.gate]
    assert [row.line() for row in judged if row.applicable and not row.passed] == []
    assert {row.gate for row in judged if not row.applicable} <= MAY_BE_LEFT_OUT


def check_registered(version, settings: PlatformSettings) -> None:
    from mlflow import MlflowClient

    engine = open_engine(settings)
    assert Registry(settings, engine).aliases(version.model_id)["staging"] == version.number
    engine.dispose()
    files = {f.path for f in MlflowClient().list_artifacts(version.run_id)}
    assert "report.html" in files


def check_answers(version, settings: PlatformSettings, folder: Path) -> None:
    """Rebuild the candidate from its run: the same scores decode to answers that JSON can hold."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_run(version.run_id).info.experiment_id
    query = f"tags.mlflow.parentRunId = '{version.run_id}' and tags.stage = 'train'"
    (run,) = client.search_runs([experiment], query)
    (folder / "again").mkdir()
    candidate = load_candidate(run.info.run_id, settings, folder / "again")
    rows = candidate.oof.rows
    first = np.arange(3)
    newest = rows.X[first] if rows.X.ndim == 2 else rows.X[first, -1]
    context = {name: values[first] for name, values in rows.context.items()}
    answers = candidate.recipe.template.decode(
        candidate.oof.scores[first], newest, context, candidate.decoder, candidate.contract
    )
    assert len(answers) == 3
    json.dumps([as_json(answer) for answer in answers], allow_nan=False)
