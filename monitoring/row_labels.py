"""Row labels: how many labels are new where rows have no times.

A version on a table or on texts was made from files. People who label rows may append them to those
files, and a retraining run reads them. So the files are read again as training read them, and the
labels after the version's training are counted. Outcomes that were reported do not count here: no
run would read them. A file that has
moved or cannot be read counts as no new label, and the log says why.
"""

import json
from datetime import UTC, datetime

import numpy as np
import structlog
from numpy.typing import NDArray

from pipelines.data.bars import to_microseconds
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Recipe
from registry.errors import MLEngineError
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles

log = structlog.get_logger()


def new_label_times(version: VersionFiles, platform: PlatformSettings) -> NDArray[np.int64]:
    """Return the times at which labels after the version's training are known, sorted.

    int64 microseconds UTC; one entry per time with such rows.
    """
    contract = version.contract
    kind = kind_of(contract.template)
    again = kind.repeated(contract, datetime.now(UTC))
    source = SourceParameters(**again)  # type: ignore[arg-type]
    options = json.dumps(dict(contract.options))
    wanted = RecipeParameters(template=contract.template, options=options)
    try:
        data = kind.read(source, wanted, platform)
        rows = kind.rows(Recipe.of_contract(contract), data, dict(contract.label_spec))
    except (MLEngineError, OSError) as exc:
        log.warning("labels not read", model_id=version.model_id, reason=str(exc))
        return np.zeros(0, dtype=np.int64)
    start = to_microseconds(datetime.fromisoformat(contract.trained_until))
    later = rows.t0 > start
    _, first = np.unique(rows.t0[later], return_index=True)
    return np.sort(rows.t1[later][first])
