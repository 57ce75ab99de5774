"""Small versions of every template: real files with a linear model in ONNX, made in milliseconds.

The decoder is fitted on random scores, so answers say nothing, but they are real answers.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.data.features import FEATURE_SETS
from pipelines.data.features import fingerprint as bars_fingerprint
from pipelines.data.tables.table_columns import feature_names, read_columns
from pipelines.data.tables.table_columns import fingerprint as table_fingerprint
from pipelines.data.texts.text_encoders import LexiconEncoder
from pipelines.data.texts.text_encoders import fingerprint as text_fingerprint
from pipelines.templates import TEMPLATES
from registry.contract import ModelContract, TensorSpec
from registry.version_files import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    RECORD_FILE,
    VersionFiles,
    digest_directory,
)
from tests.conformance.test_templates import NAMES, make_case, scored
from tests.examples import make_contract

EVERY = [(name, variant) for name, variant in NAMES if TEMPLATES.get(name).inputs != "portfolio"]
LAYOUT = "dense"
"""Of tables: a linear model takes no missing values."""


@dataclass(frozen=True)
class SmallVersion:
    """Its files, and inputs that it may be asked about."""

    files: VersionFiles
    X: np.ndarray
    context: dict[str, np.ndarray]

    @property
    def contract(self) -> ModelContract:
        return self.files.contract


def small_version(folder: Path, name: str, variant: str, window: int = 1) -> SmallVersion:
    """Write a version of a template's case and return it."""
    case = make_case(name, variant)
    names, feature_set, print_of = _layout(case)
    rng = np.random.default_rng(8)
    X = rng.standard_normal((len(case.rows), len(names))).astype(np.float32)
    rows = replace(case.rows, X=X)
    decoder = case.template.fit_decoder(scored(case.template, rows), rows)
    n_scores = case.oof.scores.shape[1]
    shape = (None, len(names)) if window == 1 else (None, window, len(names))
    contract = make_contract(
        n_scores,
        model_id=name,
        template=name,
        architecture=case.template.architectures[0],
        feature_set=feature_set,
        feature_names=names,
        feature_fingerprint=print_of,
        window=window,
        inputs=TensorSpec("features", "float32", shape),
        horizon_bars=case.template.horizon_bars,
        symbols=case.rows.symbols,
        label_spec=case.spec,
        cost_spec=case.template.cost_spec(),
    )
    weights = (0.3 * rng.standard_normal((len(names), n_scores))).astype(np.float32)
    inputs = X[:16] if window == 1 else np.repeat(X[:16, None], window, axis=1)
    newest = inputs if window == 1 else inputs[:, -1]
    golden = io.BytesIO()
    np.savez(golden, features=inputs, scores=newest @ weights)
    files = {
        CONTRACT_FILE: contract.to_json().encode(),
        RECORD_FILE: b"[]",
        GOLDEN_FILE: golden.getvalue(),
        "onnx/model.onnx": _linear(weights, window),
        **decoder.to_files(),
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    version = VersionFiles(name, 1, folder, digest_directory(folder))
    return SmallVersion(version, X, dict(case.rows.context))


def _layout(case) -> tuple[tuple[str, ...], str, str]:
    kind = case.template.inputs
    if kind == "table":
        columns = read_columns(case.spec)
        return feature_names(columns, LAYOUT), LAYOUT, table_fingerprint(columns, LAYOUT)
    if kind == "texts":
        encoder = LexiconEncoder()
        return encoder.feature_names, encoder.name, text_fingerprint(encoder)
    feature_set = FEATURE_SETS.get(case.template.feature_set)
    return feature_set.feature_names, case.template.feature_set, bars_fingerprint(feature_set)


def _linear(weights: np.ndarray, window: int) -> bytes:
    """Scores = features of the newest step @ weights."""
    from onnx import TensorProto, helper, numpy_helper

    n_features, n_scores = weights.shape
    shape = [None, n_features] if window == 1 else [None, window, n_features]
    nodes = [helper.make_node("MatMul", ["newest", "weights"], ["scores"])]
    initial = [numpy_helper.from_array(weights, "weights")]
    if window == 1:
        nodes.insert(0, helper.make_node("Identity", ["features"], ["newest"]))
    else:
        initial.append(numpy_helper.from_array(np.array(window - 1), "last"))
        nodes.insert(0, helper.make_node("Gather", ["features", "last"], ["newest"], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, n_scores])],
        initial,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
