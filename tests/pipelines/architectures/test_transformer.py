import numpy as np
import pytest
import torch

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.transformer import TRANSFORMER, Attention
from registry.errors import ParameterError

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import


def test_attention_is_that_of_torchs_own_module():
    torch.manual_seed(0)
    ours, oracle = Attention(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(ours.inward.weight)
        oracle.in_proj_bias.copy_(ours.inward.bias)
        oracle.out_proj.weight.copy_(ours.outward.weight)
        oracle.out_proj.bias.copy_(ours.outward.bias)
        z = torch.randn(3, 5, 8)
        expected, _ = oracle(z, z, z)
        np.testing.assert_allclose(ours(z).numpy(), expected.numpy(), atol=1e-6)


def test_heads_that_do_not_divide_the_width_are_refused():
    rows = TrainingRows(np.zeros((200, 4, 2), np.float32), np.ones(200), np.ones(200))
    with pytest.raises(ParameterError, match="heads=3: expected a divisor of hidden=32"):
        TRANSFORMER.fit(rows, Objective("squared"), {"heads": 3}, 0)


def test_dropout_is_drawn_from_the_seed():
    rng = np.random.default_rng(0)
    rows = TrainingRows(
        rng.standard_normal((200, 4, 2)).astype(np.float32), rng.standard_normal(200), np.ones(200)
    )
    parameters = {"dropout": 0.3, "epochs": 2, "batch_size": 64, "hidden": 8}
    fitted = [TRANSFORMER.fit(rows, Objective("squared"), parameters, 0) for _ in range(2)]
    torch.rand(1)  # whatever the global state is
    np.testing.assert_array_equal(fitted[0].predict(rows.X), fitted[1].predict(rows.X))
