"""The contract of a version, written from its recipe, its data and its fit."""

from dataclasses import replace
from datetime import UTC, datetime

from pipelines.architectures import Estimator
from pipelines.data.bars import from_microseconds
from pipelines.parameters import SourceParameters, changed_from_defaults
from pipelines.recipes import manifest
from pipelines.recipes.inputs import Dataset, kind_of
from pipelines.recipes.recipe import Recipe, span
from registry.contract import DataSpan, ModelContract, TensorSpec, tensor_input


def contract_of(
    recipe: Recipe,
    dataset: Dataset,
    source: SourceParameters,
    final: Estimator,
) -> ModelContract:
    """Return the contract of a version with this fit."""
    data, fitted = dataset.data, recipe.recent(dataset.rows)
    first_test = dataset.first_test.isoformat()
    layout = kind_of(recipe.template).describe(recipe, data, dataset.label_spec)
    first, last = data.span()
    made_by = replace(recipe.as_parameters(), feature_set=layout.feature_set, first_test=first_test)
    return ModelContract(
        **made_by.stored(),
        feature_names=layout.feature_names,
        feature_fingerprint=layout.fingerprint,
        inputs=tensor_input(len(layout.feature_names), recipe.window),
        outputs=TensorSpec("scores", "float32", (None, final.n_scores)),
        horizon=span(data.interval, recipe.horizon_bars),
        interval=data.interval,
        min_history=layout.min_history,
        symbols=data.symbols,
        price_basis=data.price_basis,
        native_format=recipe.architecture.native_format,
        label_spec=dataset.label_spec,
        cost_spec=recipe.cost_spec(),
        data=DataSpan(
            source=source.source,
            sha256=data.digest(),
            start=first.isoformat(),
            end=last.isoformat(),
            n_bars=len(data.frame),
            note=data.note,
            parameters=changed_from_defaults(source),
            file_sha256=data.file_sha256,
        ),
        trained_until=from_microseconds(int(fitted.t1.max())).isoformat(),
        git_commit=manifest.git_commit(),
        lock_sha256=manifest.lock_digest(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
