"""Compression: fewer bytes, and a reason where there is nothing to compress."""

import tempfile
from importlib.util import find_spec

import pytest

from registry.errors import UnsupportedModelError
from registry.flavors.coreml import FLAVOR
from tests.registry.flavors.coreml.small_models import arrays, network

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]


def weights(variant):
    files = FLAVOR.write(*network(), variant)
    return next(content for path, content in files.items() if path.endswith("weight.bin"))


def test_fewer_bits_take_fewer_bytes():
    sizes = [len(weights(variant)) for variant in ("fp32", "fp16", "palette6", "palette4")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(weights("int8")) < len(weights("fp16"))


@pytest.mark.parametrize("variant", FLAVOR.compressions)
def test_a_model_without_a_large_matrix_is_refused_with_the_reason(monkeypatch, tmp_path, variant):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reason = f"cannot hold '{variant}': no matrix of weights has more than 64 numbers"
    with pytest.raises(UnsupportedModelError, match=reason):
        FLAVOR.write(*arrays("linear"), variant)
    assert list(tmp_path.iterdir()) == []
