"""Recurrent operations over (step, sample, feature).

Gates lie in the order input, forget, output, cell in `lstm`, which is not torch's. Clipping and
peepholes are no inputs here, so a program that has them is refused. Within an operation nothing is
rounded: only its outputs are.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.flavors.coreml_reference.operations.activations import Activation, activate
from registry.flavors.coreml_reference.signatures import Floats, operations
from registry.flavors.coreml_reference.values import expect_shape, sized

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of one direction: of the inputs, of the hidden state, and a bias."""

    inputs: Float
    hidden: Float
    bias: Float | None


def lstm(
    x: Floats,
    initial_h: Floats,
    initial_c: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias: Floats | None = None,
    weight_ih_back: Floats | None = None,
    weight_hh_back: Floats | None = None,
    bias_back: Floats | None = None,
    direction: Literal["forward", "reverse", "bidirectional"] = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    cell_activation: Activation = "tanh",
    activation: Activation = "tanh",
) -> tuple[Floats, Floats, Floats]:
    """Run a long short-term memory: every hidden state, the last one, the last cell state."""
    names = (recurrent_activation, cell_activation, activation)
    if direction == "bidirectional":
        if weight_ih_back is None or weight_hh_back is None:
            raise ValueError("no weights of the backward direction")
        (h, h_back), (c, c_back) = np.split(initial_h, 2, 1), np.split(initial_c, 2, 1)
        backward = _Weights(weight_ih_back, weight_hh_back, bias_back)
        ahead = _lstm(x, (h, c), _Weights(weight_ih, weight_hh, bias), names)
        back = _lstm(x[::-1], (h_back, c_back), backward, names)
        states = np.concatenate([ahead[0], back[0][::-1]], 2)
        last = np.concatenate([ahead[1], back[1]], 1)
        cell = np.concatenate([ahead[2], back[2]], 1)
    else:
        order = slice(None, None, -1 if direction == "reverse" else 1)
        states, last, cell = _lstm(
            x[order], (initial_h, initial_c), _Weights(weight_ih, weight_hh, bias), names
        )
        states = states[order]
    return states if output_sequence else last[None], last, cell


def rnn(
    x: Floats,
    initial_h: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias: Floats | None = None,
    direction: Literal["forward", "reverse"] = "forward",
    output_sequence: bool = False,
    activation: Activation = "tanh",
) -> tuple[Floats, Floats]:
    """Run an Elman network: every hidden state, and the last one."""
    order = slice(None, None, -1 if direction == "reverse" else 1)
    driven = _driven(x[order], initial_h, _Weights(weight_ih, weight_hh, bias))
    expect_shape(weight_hh, len(weight_ih), len(weight_ih))
    expect_shape(initial_h, x.shape[1], len(weight_ih))
    states = np.empty((len(x), *initial_h.shape), np.float32)
    h = initial_h
    for step, now in enumerate(driven):
        states[step] = h = activate(now + h @ weight_hh.T, activation)
    return states[order] if output_sequence else h[None], h


def _lstm(
    x: Float,
    initial: tuple[Float, Float],
    weights: _Weights,
    names: tuple[Activation, Activation, Activation],
) -> tuple[Float, Float, Float]:
    (h, c), (gate, cell, out) = initial, names
    n = h.shape[1]
    expect_shape(weights.hidden, 4 * n, n)
    expect_shape(c, *h.shape)
    states = np.empty((len(x), *h.shape), np.float32)
    for step, now in enumerate(_driven(x, h, weights)):
        gates = now + h @ weights.hidden.T
        i, f, o = (activate(gates[:, k * n : (k + 1) * n], gate) for k in range(3))
        c = f * c + i * activate(gates[:, 3 * n :], cell)
        states[step] = h = o * activate(c, out)
    return states, h, c


def _driven(x: Float, h: Float, weights: _Weights) -> Float:
    """Return what the inputs alone contribute at every step."""
    sized(*x.shape[:2], len(weights.inputs))
    if x.shape[1] != len(h) or len(x) == 0:
        raise ValueError(f"{len(h)} initial states for inputs of shape {x.shape}")
    driven = x @ weights.inputs.T
    if weights.bias is not None:
        expect_shape(weights.bias, len(weights.inputs))
        driven = driven + weights.bias
    return np.asarray(driven)


OPERATIONS = operations(
    lstm,
    rnn,
)
