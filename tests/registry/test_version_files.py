"""Files of a version: every byte that is read is one that was registered."""

import pytest

from registry.errors import DigestMismatchError, MissingArtifactError
from registry.flavors import Artifact
from registry.version_files import VersionFiles, artifacts, digest_directory

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, "abc"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"abc")
    return VersionFiles("m", 1, tmp_path, digest_directory(tmp_path))


def test_digests_are_sha256_of_every_file_by_relative_path(files):
    assert files.digests == {"onnx/model.onnx": ABC}


def test_a_file_with_its_registered_bytes_is_read(files):
    assert files.read("onnx/model.onnx") == b"abc"


def test_a_changed_file_is_not_returned(files):
    (files.directory / "onnx" / "model.onnx").write_bytes(b"abd")
    with pytest.raises(DigestMismatchError, match="ba7816bf8f01 was registered; it is not loaded"):
        files.read("onnx/model.onnx")


def test_a_file_that_was_not_registered_is_not_read(files):
    (files.directory / "more.txt").write_text("x")
    with pytest.raises(MissingArtifactError, match="has no such file"):
        files.read("more.txt")


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", ""])
def test_a_path_that_leaves_the_version_is_refused_even_when_registered(files, path):
    (files.directory.parent / "secret").write_bytes(b"abc")
    tricked = VersionFiles("m", 1, files.directory, {path: ABC})
    with pytest.raises(MissingArtifactError):
        tricked.read(path)


def test_files_are_gathered_by_artifact():
    package = ("coreml/fp16/model.mlpackage/Manifest.json", "coreml/fp16/model.mlpackage/a/b/w.bin")
    others = ("contract.json", "onnx/notes", "a/b/c/model.x", "model/notes", "models/model")
    found = artifacts(dict.fromkeys(("onnx/model.onnx", *package, *others), ABC))
    assert found == {
        Artifact("onnx"): ("onnx/model.onnx",),
        Artifact("coreml", "fp16"): package,
        Artifact("models"): ("models/model",),
    }
    assert Artifact("coreml", "fp16").path(".mlpackage") == "coreml/fp16/model.mlpackage"
    assert Artifact("onnx").path(".onnx") == "onnx/model.onnx"
