"""What follows TorchScript: an exported program of today moved to another device, and back."""

import io

import pytest
import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from registry.flavors.programs import open_program, save_program

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.integration]
ROWS = torch.linspace(-2, 2, 7 * 4 * 3).reshape(7, 4, 3)


class Recurrent(nn.Module):
    """Makes its first state on a device that the exported program names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, features):
        return self.head(self.cells(features)[0][:, -1])


@pytest.fixture(scope="module")
def payload():
    return save_program(Recurrent().eval(), (4, 3))


def stored(program):
    """The program, written and read again as a version's file would be."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return open_program(buffer.getvalue())


def devices(program):
    named = {str(a) for node in program.graph.nodes for a in node.kwargs.values()}
    tensors = [*program.state_dict.values(), *program.constants.values()]
    return {tensor.device.type for tensor in tensors} | {name for name in named if name == "cpu"}


def test_a_program_of_today_moves_to_another_device_and_back(payload):
    expected = open_program(payload).module()(ROWS)
    moved = move_to_device_pass(open_program(payload), "meta")
    assert devices(moved) == {"meta"}
    assert moved.module()(ROWS.to("meta")).shape == expected.shape
    back = move_to_device_pass(open_program(payload), "cpu")
    assert torch.equal(stored(back).module()(ROWS), expected)
