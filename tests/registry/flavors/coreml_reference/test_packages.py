"""Packages: exactly the members of the manifest, by name and size, before anything is parsed."""

import json
import os
import zipfile

import pytest

from registry.errors import MissingArtifactError, UnreadableArtifactError
from registry.flavors.coreml_reference import packages
from registry.flavors.coreml_reference.packages import read_folder, read_package
from tests.registry.flavors.coreml_reference.building import MODEL_ID, PREFIX, manifest

MODEL = f"{PREFIX}/model.mlmodel"
WEIGHTS = f"{PREFIX}/weights/weight.bin"
PLAIN = {"Manifest.json": manifest(with_weights=False), MODEL: b"model"}
WITH_WEIGHTS = {"Manifest.json": manifest(with_weights=True), MODEL: b"model", WEIGHTS: b"weights"}


def test_a_package_holds_its_model_and_its_weights():
    assert read_package(PLAIN) == packages.Package(b"model", {})
    assert read_package(WITH_WEIGHTS) == packages.Package(b"model", {"weight.bin": b"weights"})


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({}, "member Manifest.json is missing"),
        ({"Manifest.json": PLAIN["Manifest.json"]}, "is in the manifest but missing"),
        ({**PLAIN, WEIGHTS: b""}, "weights is not in the manifest"),
        ({"Manifest.json": WITH_WEIGHTS["Manifest.json"], MODEL: b""}, "but missing"),
        ({**PLAIN, ".DS_Store": b""}, "'.DS_Store' is no member"),
        ({**PLAIN, "../evil": b""}, "'../evil' is no member"),
        ({**PLAIN, "/etc/passwd": b""}, "'/etc/passwd' is no member"),
        ({**PLAIN, f"{PREFIX}/weights/../x": b""}, "is no member"),
        ({**PLAIN, f"{PREFIX}/weights/.hidden": b""}, "is no member"),
        ({**PLAIN, f"{PREFIX}/weights/a/b": b""}, "is no member"),
        ({**PLAIN, "Data\\com.apple.CoreML\\weights\\x": b""}, "is no member"),
        ({**PLAIN, f"{PREFIX}/weights/a\nb": b""}, "is no member"),
        ({**PLAIN, **{f"{PREFIX}/weights/{k}": b"" for k in range(20)}}, "22 members; at most 16"),
        ({**PLAIN, "Manifest.json": b" " * 2**17}, "'Manifest.json' has 131072 bytes; at most"),
    ],
    ids=lambda v: str(v)[-16:],
)
def test_other_members_are_refused_by_name(members, cause):
    with pytest.raises(UnreadableArtifactError, match=cause) as caught:
        read_package(members)
    assert "\n" not in str(caught.value)


def edited(**changes):
    facts = json.loads(PLAIN["Manifest.json"]) | changes
    return {**PLAIN, "Manifest.json": json.dumps(facts).encode()}


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        (edited(fileFormatVersion="2.0.0"), "is not of version 1.0.0"),
        (edited(rootModelIdentifier="other"), "lacks an entry"),
        (edited(itemInfoEntries=[]), "lacks an entry"),
        (edited(itemInfoEntries={MODEL_ID: "path"}), "lacks an entry"),
        (edited(itemInfoEntries={MODEL_ID: {"path": "../x"}}), "lists"),
        (edited(unknown=1), "is not of version 1.0.0"),
        ({**PLAIN, "Manifest.json": b"{"}, "is not JSON"),
        ({**PLAIN, "Manifest.json": b"[" * 60000}, "is not JSON"),
        ({**PLAIN, "Manifest.json": b'{"a": 1, "a": 1}'}, "is not JSON"),
        ({**PLAIN, "Manifest.json": b"[]"}, "lacks an entry"),
        ({**PLAIN, "Manifest.json": b"\xff"}, "is not JSON"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_a_manifest_of_another_kind_is_refused(members, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        read_package(members)


def test_size_limits_hold_per_file_and_in_sum(monkeypatch):
    monkeypatch.setattr(packages, "FILE_BYTES", 6)
    with pytest.raises(UnreadableArtifactError, match="weight.bin' has 7 bytes; at most 6"):
        read_package(WITH_WEIGHTS)
    monkeypatch.setattr(packages, "FILE_BYTES", 7)
    monkeypatch.setattr(packages, "PACKAGE_BYTES", 10)
    with pytest.raises(UnreadableArtifactError, match="bytes; at most 10"):
        read_package(WITH_WEIGHTS)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "model.mlpackage"
    for name, content in WITH_WEIGHTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_folder_gives_its_members(folder):
    assert read_folder(folder) == WITH_WEIGHTS


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_in_a_folder_is_refused(folder, tmp_path, is_folder):
    target = tmp_path / "target"
    target.mkdir() if is_folder else target.write_bytes(b"secret")
    (folder / "Data" / "link").symlink_to(target)
    with pytest.raises(UnreadableArtifactError, match="'Data/link' is a link"):
        read_folder(folder)


def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnreadableArtifactError, match="'pipe' is not a file"):
        read_folder(folder)


def test_deep_and_crowded_folders_are_refused(folder):
    (folder / "a/b/c/d/e").mkdir(parents=True)
    (folder / "a/b/c/d/e/file").write_bytes(b"")
    with pytest.raises(UnreadableArtifactError, match="holds too many files"):
        read_folder(folder)


def test_a_large_file_is_refused_before_it_is_read(folder, monkeypatch):
    with (folder / WEIGHTS).open("wb") as file:
        file.truncate(2**40)  # no byte of it is written
    with pytest.raises(UnreadableArtifactError, match="has 1099511627776 bytes"):
        read_folder(folder)


def test_an_archive_is_not_unpacked(tmp_path):
    bomb = tmp_path / "model.mlpackage.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 2**20)
    with pytest.raises(
        UnreadableArtifactError, match="is not a folder; an archive is not unpacked"
    ):
        read_folder(bomb)
    with pytest.raises(MissingArtifactError, match="no_such"):
        read_folder(tmp_path / "no_such")
