import torch

from pipelines.architectures.convolutional import Convolutions
from pipelines.architectures.networks import CausalBlock


def test_an_output_knows_no_later_step():
    torch.manual_seed(0)
    block = CausalBlock(2, 3, kernel=3, dilation=2)
    series = torch.randn(1, 2, 20)
    changed = series.clone()
    changed[:, :, 12:] += 1.0
    with torch.no_grad():
        before, after = block(series), block(changed)
    assert torch.equal(before[:, :, :12], after[:, :, :12])
    assert not torch.equal(before[:, :, 12], after[:, :, 12])


def test_the_last_step_sees_as_many_steps_as_the_page_says():
    torch.manual_seed(0)
    body = Convolutions(1, 4, n_layers=2, kernel=3, dropout=0.0)  # 1 + 2 * 2 * (2**2 - 1) = 13
    window = torch.randn(1, 40, 1, requires_grad=True)
    body(window).sum().backward()
    assert window.grad[0, :, 0].nonzero().min() >= 40 - 13
    deep = torch.ones(1, 40, 1)
    for block in body.blocks:  # every unit on, so that no ReLU hides a step
        for layer in (block.layers[1], block.layers[5]):
            torch.nn.init.ones_(layer.weight)
    deep.requires_grad_(True)
    body(deep).sum().backward()
    assert deep.grad[0, :, 0].nonzero().min() == 40 - 13
