import numpy as np
import pytest

from registry.errors import ParityError, ShapeError
from registry.flavors import parity


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_small_scores_are_compared_absolutely_and_large_ones_relatively():
    assert parity.difference(column(0.0, 0.5), column(0.25, 0.5)) == 0.25
    assert parity.difference(column(-8.0), column(-10.0)) == 0.25


def test_equal_scores_differ_by_nothing():
    assert parity.difference(column(1.0, -2.0), column(1.0, -2.0)) == 0.0


@pytest.mark.parametrize("other", [np.nan, np.inf])
def test_a_number_against_none_is_an_infinite_difference(other):
    assert parity.difference(column(1.0, 2.0), column(1.0, other)) == np.inf
    assert parity.difference(column(np.nan), column(np.nan)) == np.inf


def test_shapes_must_agree_and_hold_something():
    with pytest.raises(ShapeError):
        parity.difference(column(1.0), np.array([1.0], np.float32))
    with pytest.raises(ShapeError):
        parity.difference(column(), column())


def test_check_refuses_beyond_the_flavors_limit():
    assert parity.check("onnx", column(1.0), column(1.00005)) == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(ParityError, match=r"'onnx' differs from native by 0.1, limit 0.0001"):
        parity.check("onnx", column(1.0), column(1.1))
    with pytest.raises(ParityError):
        parity.check("onnx", column(1.0), column(np.nan))
