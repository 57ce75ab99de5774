"""Layers against torch: recurrent ones as coremltools writes them, convolutions, norms."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.registry.flavors.coreml_reference.building import evaluate

pytestmark = pytest.mark.xdist_group("torch")  # it takes seconds to import

STEPS, SAMPLES, FEATURES, HIDDEN = 5, 3, 4, 6


def parts(module, suffix=""):
    """The weights of a recurrent layer, both biases in one."""
    found = [getattr(module, f"{name}_l0{suffix}").numpy() for name in ("weight_ih", "weight_hh")]
    bias = getattr(module, f"bias_ih_l0{suffix}") + getattr(module, f"bias_hh_l0{suffix}")
    return [*found, bias.numpy()]


def gates(array):
    """From torch's order of gates (input, forget, cell, output) to Core ML's."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, f, o, g])


def inputs(seed=0):
    torch.manual_seed(seed)
    return torch.randn(STEPS, SAMPLES, FEATURES)


def close(found, expected):
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("sequence", [True, False])
@torch.no_grad()
def test_lstm(sequence):
    x, layer = inputs(), nn.LSTM(FEATURES, HIDDEN)
    h, c = torch.randn(1, SAMPLES, HIDDEN), torch.randn(1, SAMPLES, HIDDEN)
    expected, (last, cell) = layer(x, (h, c))
    weights = dict(zip(("weight_ih", "weight_hh", "bias"), map(gates, parts(layer)), strict=True))
    state = ("FLOAT32", (SAMPLES, HIDDEN))
    found = evaluate(
        "lstm",
        ("FLOAT32", (STEPS if sequence else 1, SAMPLES, HIDDEN)),
        state,
        state,
        x=x.numpy(),
        initial_h=h[0].numpy(),
        initial_c=c[0].numpy(),
        output_sequence=np.bool_(sequence),
        direction="forward",
        **weights,
    )
    close(found[0], expected if sequence else expected[-1:])
    close(found[1], last[0])
    close(found[2], cell[0])


@torch.no_grad()
def test_lstm_in_both_directions():
    x, layer = inputs(), nn.LSTM(FEATURES, HIDDEN, bidirectional=True)
    h, c = torch.randn(2, SAMPLES, HIDDEN), torch.randn(2, SAMPLES, HIDDEN)
    expected, (last, cell) = layer(x, (h, c))
    names = ("weight_ih", "weight_hh", "bias")
    ahead = dict(zip(names, map(gates, parts(layer)), strict=True))
    back = {f"{n}_back": gates(v) for n, v in zip(names, parts(layer, "_reverse"), strict=True)}
    state = ("FLOAT32", (SAMPLES, 2 * HIDDEN))
    found = evaluate(
        "lstm",
        ("FLOAT32", (STEPS, SAMPLES, 2 * HIDDEN)),
        state,
        state,
        x=x.numpy(),
        initial_h=np.concatenate(h.numpy(), 1),
        initial_c=np.concatenate(c.numpy(), 1),
        output_sequence=np.bool_(True),
        direction="bidirectional",
        **ahead,
        **back,
    )
    close(found[0], expected)
    close(found[1], torch.cat(list(last), 1))
    close(found[2], torch.cat(list(cell), 1))


@torch.no_grad()
def test_lstm_backwards_is_the_reversed_lstm():
    x, layer = inputs(), nn.LSTM(FEATURES, HIDDEN)
    expected, (last, _) = layer(x.flip(0))
    weights = dict(zip(("weight_ih", "weight_hh", "bias"), map(gates, parts(layer)), strict=True))
    state = ("FLOAT32", (SAMPLES, HIDDEN))
    none = np.zeros((SAMPLES, HIDDEN), np.float32)
    given = {"direction": "reverse", "output_sequence": np.bool_(True), **weights}
    found = evaluate(
        "lstm", ("FLOAT32", (STEPS, SAMPLES, HIDDEN)), state, state,
        x=x.numpy(), initial_h=none, initial_c=none, **given,
    )  # fmt: skip
    close(found[0], expected.flip(0))
    close(found[1], last[0])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@torch.no_grad()
def test_rnn(activation, direction):
    x, layer = inputs(), nn.RNN(FEATURES, HIDDEN, nonlinearity=activation)
    ordered = x if direction == "forward" else x.flip(0)
    expected, last = layer(ordered)
    weights = dict(zip(("weight_ih", "weight_hh", "bias"), parts(layer), strict=True))
    found = evaluate(
        "rnn",
        ("FLOAT32", (STEPS, SAMPLES, HIDDEN)),
        ("FLOAT32", (SAMPLES, HIDDEN)),
        x=x.numpy(),
        initial_h=np.zeros((SAMPLES, HIDDEN), np.float32),
        output_sequence=np.bool_(True),
        direction=direction,
        activation=activation,
        **weights,
    )
    close(found[0], expected if direction == "forward" else expected.flip(0))
    close(found[1], last[0])


CONVOLUTIONS = [
    (nn.Conv1d(4, 6, 3), (2, 4, 9), {}),
    (nn.Conv1d(4, 6, 3, stride=2, dilation=2, bias=False), (2, 4, 12), {}),
    (nn.Conv1d(4, 8, 2, groups=4), (2, 4, 7), {}),
    (nn.Conv1d(4, 6, 3, padding=2), (2, 4, 5), {"pad": np.int32([2, 2])}),
    (nn.Conv2d(2, 4, (3, 2), stride=(1, 2), groups=2), (2, 2, 6, 7), {}),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5), {}),
    (nn.ConvTranspose1d(4, 6, 3, padding=1, dilation=2), (2, 4, 6), {"pad": np.int32([1, 1])}),
    (nn.ConvTranspose1d(4, 6, 2, groups=2), (2, 4, 5), {}),
    (nn.ConvTranspose2d(2, 3, (2, 3), stride=(2, 1)), (1, 2, 4, 3), {}),
]


@pytest.mark.parametrize(("layer", "shape", "padding"), CONVOLUTIONS, ids=str)
@torch.no_grad()
def test_convolutions(layer, shape, padding):
    x = torch.randn(shape)
    expected = layer(x)
    given = {"pad_type": "custom" if padding else "valid", **padding}
    if layer.bias is not None:
        given["bias"] = layer.bias.numpy()
    found = evaluate(
        "conv_transpose" if layer.transposed else "conv",
        ("FLOAT32", tuple(expected.shape)),
        x=x.numpy(),
        weight=layer.weight.numpy(),
        strides=np.int32(layer.stride),
        dilations=np.int32(layer.dilation),
        groups=np.int32(layer.groups),
        **given,
    )
    close(found[0], expected)


@torch.no_grad()
def test_layer_norm():
    x, layer = torch.randn(3, 4, 5), nn.LayerNorm((4, 5))
    layer.weight.copy_(torch.randn(4, 5))
    layer.bias.copy_(torch.randn(4, 5))
    given = {"gamma": layer.weight.numpy(), "beta": layer.bias.numpy()}
    found = evaluate(
        "layer_norm", ("FLOAT32", (3, 4, 5)), x=x.numpy(), axes=np.int32([-2, -1]),
        epsilon=np.float32(1e-5), **given,
    )  # fmt: skip
    close(found[0], layer(x))


@torch.no_grad()
def test_batch_norm():
    x, layer = torch.randn(3, 4, 5), nn.BatchNorm1d(4).eval()
    for name in ("weight", "bias", "running_mean"):
        getattr(layer, name).copy_(torch.randn(4))
    layer.running_var.copy_(torch.rand(4) + 0.5)
    found = evaluate(
        "batch_norm",
        ("FLOAT32", (3, 4, 5)),
        x=x.numpy(),
        mean=layer.running_mean.numpy(),
        variance=layer.running_var.numpy(),
        gamma=layer.weight.numpy(),
        beta=layer.bias.numpy(),
        epsilon=np.float32(layer.eps),
    )
    close(found[0], layer(x))


@pytest.mark.parametrize(
    "mask", [None, torch.tensor([[True, False], [True, True]]), torch.randn(2, 2)]
)
def test_attention(mask):
    q, k, v = (torch.randn(1, 2, 2, 8) for _ in range(3))
    expected = nn.functional.scaled_dot_product_attention(q, k, v, mask)
    given = {} if mask is None else {"attn_mask": mask.numpy()}
    found = evaluate(
        "scaled_dot_product_attention", ("FLOAT32", (1, 2, 2, 8)), opset="CoreML8",
        query=q.numpy(), key=k.numpy(), value=v.numpy(), **given,
    )  # fmt: skip
    close(found[0], expected)
