"""What backend `cpu` does beyond the guarantees that the conformance tests hold it to."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from registry.backends.cpu import BACKEND, CHUNK_ROWS
from registry.contract import TensorSpec, tensor_input
from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import Artifact
from registry.flavors.native import NATIVE
from registry.flavors.programs import save_program

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.integration]


class LargestBatch(nn.Module):
    """Scores every row with the number of rows that it came with."""

    def forward(self, features):
        return torch.ones_like(features[:, 0, :1]) * features.shape[0]


@pytest.fixture
def windowed(contract):
    return replace(
        contract,
        window=3,
        inputs=tensor_input(2, 3),
        outputs=TensorSpec("scores", "float32", (None, 1)),
        native_format="torch-export",
    )


def graph_of(inputs, outputs):
    node = helper.make_node("Identity", [inputs], [outputs])
    info = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2])
        for name in (inputs, outputs)
    ]
    graph = helper.make_graph([node], "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def load_native(payload, contract):
    return BACKEND.load(NATIVE, {"native/model.x": payload}, contract)


def test_windowed_models_see_at_most_one_chunk_of_rows_at_once(windowed):
    predictor = load_native(save_program(LargestBatch(), (3, 2)), windowed)
    scores = predictor(np.zeros((CHUNK_ROWS + 5, 3, 2), np.float32))
    assert scores[:CHUNK_ROWS].tolist() == [[CHUNK_ROWS]] * CHUNK_ROWS
    assert scores[CHUNK_ROWS:].tolist() == [[5]] * 5


def test_an_onnx_file_with_other_names_is_refused(contract):
    with pytest.raises(UnreadableArtifactError, match="are X, y, not features, scores"):
        BACKEND.load(Artifact("onnx"), {"onnx/model.x": graph_of("X", "y")}, contract)


def test_a_native_file_of_the_other_format_is_refused(contract, windowed):
    program = save_program(LargestBatch(), (3, 2))
    with pytest.raises(UnreadableArtifactError, match="not a UBJSON object"):
        load_native(program, contract)
    with pytest.raises(UnreadableArtifactError, match=r"not a \.pt2 archive"):
        load_native(graph_of("features", "scores"), windowed)


def test_a_native_format_it_cannot_run_is_named(contract):
    with pytest.raises(
        UnsupportedModelError, match="'cpu' runs: native.fp32 arrays, native.fp32 catboost-cbm"
    ):
        load_native(b"", replace(contract, native_format="pickle"))


def test_a_call_leaves_torchs_thread_count_as_it_was(windowed):
    before = torch.get_num_threads()
    predictor = load_native(save_program(LargestBatch(), (3, 2)), windowed)
    torch.set_num_threads(3)
    try:
        predictor(np.zeros((1, 3, 2), np.float32))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
