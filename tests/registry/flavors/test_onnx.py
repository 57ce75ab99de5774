"""The written ONNX file: one self-contained graph with the names and shapes that are promised."""

import logging

import onnx
import pytest
import torch
import xgboost as xgb
from torch import nn

from registry.errors import UnreadableArtifactError
from registry.flavors import NativeModel
from registry.flavors.onnx import FLAVOR
from registry.flavors.programs import save_program

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.integration]


def booster():
    data = xgb.DMatrix([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], label=[1.0, 2.0, 3.0])
    trained = xgb.train({"objective": "reg:gamma", "min_child_weight": 0, "nthread": 1}, data, 2)
    return NativeModel("xgboost-ubj", bytes(trained.save_raw("ubj")))


def network():
    return NativeModel("torch-export", save_program(nn.Linear(2, 1), (2,)))


@pytest.mark.parametrize("native", [booster, network])
def test_graph_takes_features_and_gives_only_scores(native):
    graph = onnx.load_from_string(*FLAVOR.write(native(), None).values()).graph
    assert [i.name for i in graph.input] == ["features"]
    assert [o.name for o in graph.output] == ["scores"]
    sizes = graph.input[0].type.tensor_type.shape.dim, graph.output[0].type.tensor_type.shape.dim
    assert [s[1].dim_value for s in sizes] == [2, 1]
    assert all(s[0].dim_param for s in sizes)
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.initializer)


@pytest.mark.parametrize("format_", ["xgboost-ubj", "torch-export"])
def test_a_payload_of_another_format_is_unreadable(format_):
    with pytest.raises(UnreadableArtifactError):
        FLAVOR.write(NativeModel(format_, b"PK or something else"), None)


def test_writing_leaves_threads_and_log_levels_as_they_were():
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level, torch.get_num_threads()
    FLAVOR.write(network(), None)
    assert (log.level, torch.get_num_threads()) == before
