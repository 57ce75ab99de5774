"""Packages: the members of a Core ML package, checked by name and size before anything is parsed.

A package is a folder: `Manifest.json`, `Data/com.apple.CoreML/model.mlmodel` and, for a program
with weights, files under `Data/com.apple.CoreML/weights/`. It may hold what its manifest lists and
nothing else. No archive is ever unpacked and no link is followed.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import MissingArtifactError, UnreadableArtifactError, shown
from registry.flavors.coreml_reference import FLAVOR

MANIFEST = "Manifest.json"
MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
"""Paths of the two items as the manifest gives them: below `Data/`."""

FILE_BYTES = 512 * 2**20
MODEL_BYTES = 128 * 2**20
PACKAGE_BYTES = 768 * 2**20
MANIFEST_BYTES = 64 * 2**10
MEMBERS = 16
"""Limits, checked before anything is read or parsed."""

FOLDER_DEPTH = 4
ITEM_KEYS = {"author", "description", "name", "path"}
WEIGHT_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Package:
    """The content of a package: the model's protobuf and the weight files by name."""

    model: bytes
    weights: Mapping[str, bytes]


def read_package(members: Mapping[str, bytes]) -> Package:
    """Return the content of a package.

    Args:
        members: path inside the package, with slashes -> content.

    Raises:
        UnreadableArtifactError: a member is missing, is not in the manifest, has a name that
            leads elsewhere, or is too large.
    """
    _check_sizes({name: len(content) for name, content in members.items()})
    weights = {}
    for name, content in members.items():
        if name in (MANIFEST, f"Data/{MODEL}"):
            continue
        folder, _, file_name = name.rpartition("/")
        if folder != f"Data/{WEIGHTS}" or not WEIGHT_NAME.fullmatch(file_name):
            raise UnreadableArtifactError(FLAVOR, f"{shown(name)} is no member of a package")
        weights[file_name] = content
    listed = _listed(members)
    for path, is_here in ((MODEL, f"Data/{MODEL}" in members), (WEIGHTS, bool(weights))):
        if is_here != (path in listed):
            fault = "is not in the manifest" if is_here else "is in the manifest but missing"
            raise UnreadableArtifactError(FLAVOR, f"member Data/{path} {fault}")
    return Package(members[f"Data/{MODEL}"], weights)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the members of a package that lies on disk.

    Raises:
        MissingArtifactError: there is nothing at the path.
        UnreadableArtifactError: it is not a folder (an archive is not unpacked), or holds a
            link, a device, too many files or too large ones.
    """
    if not folder.exists():
        raise MissingArtifactError(str(folder))
    if not folder.is_dir():
        cause = f"{folder.name} is not a folder; an archive is not unpacked"
        raise UnreadableArtifactError(FLAVOR, cause)
    sizes = dict(_files(folder, "", 1))
    _check_sizes(sizes)
    members = {}
    for name, size in sizes.items():
        with (folder / name).open("rb") as file:
            members[name] = file.read(size + 1)
        if len(members[name]) != size:
            raise UnreadableArtifactError(FLAVOR, f"{shown(name)} changes while it is read")
    return members


def _files(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    """Yield path and size of every file; refuse what is no file or folder."""
    with os.scandir(folder) as entries:
        for found, entry in enumerate(entries):
            name, status = f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
            if found == MEMBERS or depth > FOLDER_DEPTH:
                raise UnreadableArtifactError(FLAVOR, f"{shown(prefix)} holds too many files")
            if stat.S_ISREG(status.st_mode):
                yield name, status.st_size
            elif stat.S_ISDIR(status.st_mode):
                yield from _files(folder / entry.name, f"{name}/", depth + 1)
            else:
                kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a file"
                raise UnreadableArtifactError(FLAVOR, f"{shown(name)} is {kind}")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    if len(sizes) > MEMBERS:
        raise UnreadableArtifactError(FLAVOR, f"{len(sizes)} members; at most {MEMBERS}")
    for name, size in sizes.items():
        limit = {MANIFEST: MANIFEST_BYTES, f"Data/{MODEL}": MODEL_BYTES}.get(name, FILE_BYTES)
        if size > limit:
            cause = f"{shown(name)} has {size} bytes; at most {limit}"
            raise UnreadableArtifactError(FLAVOR, cause)
    if (total := sum(sizes.values())) > PACKAGE_BYTES:
        raise UnreadableArtifactError(FLAVOR, f"{total} bytes; at most {PACKAGE_BYTES}")


def _listed(members: Mapping[str, bytes]) -> set[str]:
    """Return the paths that the manifest lists; the model must be its root."""
    if MANIFEST not in members:
        raise UnreadableArtifactError(FLAVOR, f"member {MANIFEST} is missing")
    manifest = _json(members[MANIFEST])
    try:
        version, items = manifest["fileFormatVersion"], manifest["itemInfoEntries"]
        root = items[manifest["rootModelIdentifier"]]
        entries = [(str(item["path"]), set(item)) for item in items.values()]
        known = set(manifest) == {"fileFormatVersion", "itemInfoEntries", "rootModelIdentifier"}
        is_model = root["path"] == MODEL
    except (KeyError, TypeError, AttributeError) as exc:
        raise UnreadableArtifactError(FLAVOR, f"{MANIFEST} lacks an entry") from exc
    paths = {path for path, _ in entries}
    if version != "1.0.0" or not known or any(keys - ITEM_KEYS for _, keys in entries):
        raise UnreadableArtifactError(FLAVOR, f"{MANIFEST} is not of version 1.0.0")
    if not is_model or len(paths) != len(entries) or not paths <= {MODEL, WEIGHTS}:
        cause = f"{MANIFEST} lists {shown(sorted(paths))}; expected {MODEL} and perhaps {WEIGHTS}"
        raise UnreadableArtifactError(FLAVOR, cause)
    return paths


def _json(content: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError
        return found

    try:
        return json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as exc:
        raise UnreadableArtifactError(FLAVOR, f"{MANIFEST} is not JSON") from exc
