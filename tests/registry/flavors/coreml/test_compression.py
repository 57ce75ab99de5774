"""Compression: fewer bytes, and a reason where there is nothing to compress."""

import tempfile
from importlib.util import find_spec

import numpy as np
import pytest

from registry.errors import UnsupportedModelError
from registry.flavors.coreml import FLAVOR
from tests.registry.flavors.coreml.small_models import arrays, evaluated, written

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]


def weights(variant):
    files = written("network", variant)
    return next(content for path, content in files.items() if path.endswith("weight.bin"))


@pytest.mark.slow
def test_fewer_bits_take_fewer_bytes():
    sizes = [len(weights(variant)) for variant in ("fp32", "fp16", "palette6", "palette4")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(weights("int8")) < len(weights("fp16"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", FLAVOR.compressions)
def test_a_model_without_a_large_matrix_is_refused_with_the_reason(monkeypatch, tmp_path, variant):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reason = f"cannot hold '{variant}': no matrix of weights has more than 64 numbers"
    with pytest.raises(UnsupportedModelError, match=reason):
        FLAVOR.write(*arrays("linear"), variant)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "limit"), [("int8", 0.02), ("palette6", 0.05)])
def test_compressed_scores_are_near_those_of_the_network(variant, limit):
    X = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    expected = evaluated(written("network"))(X)
    error = np.abs(evaluated(written("network", variant), variant)(X) - expected)
    assert 1e-4 < error.max() < limit
