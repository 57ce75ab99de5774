"""The flavor: files of a package, what it refuses, and that it leaves no trace."""

import json
import logging
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from registry.errors import SettingValueError, UnreadableArtifactError, UnsupportedModelError
from registry.flavors import FLAVORS, Artifact, NativeModel
from registry.flavors.coreml import FLAVOR
from registry.flavors.coreml.networks import trace
from tests.examples import make_contract
from tests.registry.flavors.coreml.small_models import (
    ARRAYS,
    arrays,
    evaluated,
    f32,
    network,
    written,
)

pytestmark = [pytest.mark.xdist_group("coreml"), pytest.mark.integration]
needs_coremltools = pytest.mark.skipif(
    find_spec("coremltools") is None, reason="coremltools is not installed"
)


def specification(files):
    from coremltools.proto import Model_pb2

    (content,) = [content for path, content in files.items() if path.endswith(".mlmodel")]
    return Model_pb2.Model.FromString(content)


@needs_coremltools
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_a_package_lies_at_its_place_and_its_manifest_lists_what_is_there(variant):
    files = written("network", variant)
    assert {Artifact.of(path) for path in files} == {Artifact("coreml", variant)}
    folder = Artifact("coreml", variant).path(".mlpackage")
    manifest = json.loads(files[f"{folder}/Manifest.json"])
    items = {entry["path"] for entry in manifest["itemInfoEntries"].values()}
    assert items == {"com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"}
    assert manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["name"] == "model.mlmodel"
    assert set(files) == {
        f"{folder}/Manifest.json",
        f"{folder}/Data/com.apple.CoreML/model.mlmodel",
        f"{folder}/Data/com.apple.CoreML/weights/weight.bin",
    }


@needs_coremltools
def test_numbers_that_all_fit_into_the_specification_need_no_weights():
    files = written("forest-of-leaves")
    assert [path.rpartition("/")[2] for path in files] == ["Manifest.json", "model.mlmodel"]


@needs_coremltools
@pytest.mark.parametrize("variant", ["fp32", pytest.param("palette4", marks=pytest.mark.slow)])
def test_the_same_native_model_gives_the_same_bytes(variant):
    first = written("network", variant)
    written("linear-of-unit-rows")
    trace.cache_clear()
    assert FLAVOR.write(*network(), variant) == first


@needs_coremltools
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_features_and_scores_are_float32_of_1_to_4096_rows(variant):
    description = specification(written("network", variant)).description
    (features,), (scores,) = description.input, description.output
    assert (features.name, scores.name) == ("features", "scores")
    assert {f.type.multiArrayType.dataType for f in (features, scores)} == {65568}  # FLOAT32
    ranges = features.type.multiArrayType.shapeRange.sizeRanges
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 4096), (2, 2)]


@needs_coremltools
@pytest.mark.parametrize(
    ("minimum", "version"), [("macOS13", 7), pytest.param("macOS15", 9, marks=pytest.mark.slow)]
)
def test_the_minimum_target_is_a_setting(monkeypatch, minimum, version):
    assert specification(written("forest-of-leaves")).specificationVersion == 8  # macOS 14
    monkeypatch.setenv("COREML_MINIMUM_TARGET", minimum)
    files = FLAVOR.write(*arrays("forest-of-leaves"))
    assert specification(files).specificationVersion == version
    X = f32([1], [np.nan])
    np.testing.assert_array_equal(evaluated(files)(X), f32([3.5], [3.5]))


@needs_coremltools
def test_a_target_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("COREML_MINIMUM_TARGET", "macOS9")
    with pytest.raises(SettingValueError, match="COREML_MINIMUM_TARGET='macOS9'"):
        FLAVOR.write(*arrays("linear"))


@needs_coremltools
@pytest.mark.parametrize("name", ["linear-of-unit-rows", "network"])
def test_nothing_tells_where_when_or_by_which_lines_it_was_made(name):
    files = written(name)
    root, temporary = str(Path(__file__).parents[4]), tempfile.gettempdir()
    words = (root.encode(), temporary.encode(), b"site-packages", b".py", b"conversion_date")
    assert not [word for word in words for content in files.values() if word in content]


@needs_coremltools
@pytest.mark.slow
def test_writing_says_nothing_and_leaves_everything_as_it_was(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log, attention = logging.getLogger("coremltools"), torch.backends.mha
    before = log.level, attention.get_fastpath_enabled(), list(warnings.filters)
    FLAVOR.write(*network(), "palette6")
    assert (log.level, attention.get_fastpath_enabled(), list(warnings.filters)) == before
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@needs_coremltools
def test_what_is_not_known_is_refused_by_name():
    native, contract = arrays("linear")
    with pytest.raises(UnsupportedModelError, match="known formats: arrays, catboost-cbm"):
        FLAVOR.write(NativeModel("pickle", b""), contract)
    with pytest.raises(UnsupportedModelError, match="unknown variant 'bf16'; known: fp32, fp16"):
        FLAVOR.write(native, contract, "bf16")


@needs_coremltools
def test_rows_of_another_shape_than_the_contract_says_are_refused():
    contract = make_contract(3, feature_names=("a", "b", "c"))
    for native, _ in (arrays("linear"), network()):
        with pytest.raises(UnreadableArtifactError, match=r"shape \(2,\), the contract says \(3,"):
            FLAVOR.write(native, contract)


@needs_coremltools
def test_what_coremltools_cannot_convert_is_refused_with_its_first_line():
    class Bessel(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(UnsupportedModelError, match="cannot hold 'mlp'.*bessel_j0") as failure:
        FLAVOR.write(*network(Bessel()))
    assert "\n" not in failure.value.reason


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (("linux", "x86_64"), "coremltools is not installed"),
        (("linux", "aarch64"), r"coremltools has no wheel for this machine \(linux on aarch64\)"),
        (("win32", "AMD64"), r"coremltools has no wheel for this machine \(win32 on AMD64\)"),
    ],
)
def test_without_coremltools_the_flavor_says_why_and_the_others_work(monkeypatch, machine, reason):
    monkeypatch.setitem(sys.modules, "coremltools", None)
    monkeypatch.setattr("registry.flavors.coreml.sys.platform", machine[0])
    monkeypatch.setattr("registry.flavors.coreml.platform.machine", lambda: machine[1])
    native, contract = arrays("linear")
    with pytest.raises(UnsupportedModelError, match=f"cannot hold 'arrays': {reason}"):
        FLAVOR.write(native, contract)
    for name in ("native", "onnx"):
        assert FLAVORS.get(name).write(native, contract)


def test_importing_the_flavor_imports_no_library():
    heavy = ("coremltools", "torch", "onnx", "xgboost", "lightgbm", "catboost")
    code = f"import registry.flavors.coreml, sys; print(*(n for n in {heavy} if n in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_small_models_are_of_every_array_model():
    from registry.flavors.arrays import ARRAY_MODELS

    assert {model.name for model in ARRAYS.values()} == set(ARRAY_MODELS)
