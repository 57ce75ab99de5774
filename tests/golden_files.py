"""Golden answers for versions that tests write by hand, as the train stage writes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.method.rows import newest_step
from pipelines.recipes.golden_answers import answers_file, inputs_of, n_history
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.inputs.bar_probe import waves
from pipelines.recipes.inputs.bars import COLUMNS
from pipelines.templates import TEMPLATES
from registry.version_files import ANSWERS_FILE, GOLDEN_FILE, VersionFiles, digest_directory


def add_golden_answers(directory: Path, context: Mapping[str, np.ndarray]) -> VersionFiles:
    """Write what this code answers for a version's golden rows beside its files.

    `context` is that of the rows, as many or more.
    """
    version = VersionFiles("model", 1, directory, digest_directory(directory))
    contract, template = version.contract, TEMPLATES.get(version.contract.template)
    with np.load(directory / GOLDEN_FILE) as golden:
        features, scores = newest_step(golden["features"]), golden["scores"]
    is_over_bars = kind_of(template).has_outcomes
    bars = waves(n_history(contract))
    history = {name: getattr(bars, name) for name in COLUMNS} if is_over_bars else {}
    of_rows = {name: values[: len(scores)] for name, values in context.items()}
    inputs = inputs_of(features, scores, of_rows, history)
    content = answers_file(template, contract, version.decoder, inputs)
    (directory / ANSWERS_FILE).write_bytes(content)
    return VersionFiles("model", 1, directory, digest_directory(directory))
