"""UBJSON: whole files pass, every file that was cut short or changed in structure does not."""

import numpy as np
import pytest
import xgboost as xgb

from registry.errors import UnreadableArtifactError
from registry.flavors.trees.xgboost import open_booster
from registry.flavors.ubjson import find_fault


@pytest.fixture(scope="module")
def model() -> bytes:
    rng = np.random.default_rng(0)
    data = xgb.DMatrix(rng.random((60, 3)), label=rng.random(60), feature_names=["a", "b", "ü"])
    return bytes(xgb.train({"nthread": 1, "max_depth": 2}, data, 2).save_raw("ubj"))


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_what_xgboost_writes_is_whole(booster: str) -> None:
    rng = np.random.default_rng(0)
    data = xgb.DMatrix(rng.random((60, 3)), label=rng.random(60))
    written = xgb.train({"nthread": 1, "booster": booster}, data, 2).save_raw("ubj")
    assert find_fault(bytes(written)) is None


def test_no_beginning_of_a_file_is_whole(model: bytes) -> None:
    assert all(find_fault(model[:n]) for n in range(len(model)))


def test_a_file_cut_short_is_refused_before_xgboost_reads_it(model: bytes) -> None:
    with pytest.raises(UnreadableArtifactError, match="cut short at 100 bytes"):
        open_booster(model[:100])


def test_bytes_after_the_end_are_a_fault(model: bytes) -> None:
    assert find_fault(model + b"\0\0") == "2 bytes beyond its end"


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "not a UBJSON object"),
        (b"[]", "not a UBJSON object"),
        (b"{}", None),
        (b"{i\x01aSi\x02xy}", None),
        (b"{i\x01a[$d#i\x02" + b"\0" * 8 + b"}", None),
        (b"{i\x01a[#i\x02TF}", None),
        (b"{i\x01a[$?#i\x01\0}", "an array of no known type at byte 5"),
        (b"{i\x01a[$di\x01\0\0\0\0}", "a typed array without a count at byte 5"),
        (b"{i\xffa}", "a count below 0 at byte 1"),
        (b"{?", "no count at byte 1"),
        (b"{i\x01a?}", "nothing that can be read at byte 4"),
        (b"{L\x7f" + b"\xff" * 7 + b"a}", "cut short at 12 bytes"),
        (b"{i\x01a" * 100, "nothing that can be read at byte 256"),
    ],
)
def test_structure_is_followed_to_the_byte(payload: bytes, fault: str | None) -> None:
    assert find_fault(payload) == fault
