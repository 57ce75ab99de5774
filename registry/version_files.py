"""Files of a version: their names, their digests, and reading them with every byte checked.

The digests come from the engine database, where registration recorded them. `registry/artifacts.py`
holds local copies of versions, `registry/model_store.py` stores them in MLflow.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from registry import decoder
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import DigestMismatchError, MissingArtifactError
from registry.flavors import Artifact
from registry.gates import GateRow

CONTRACT_FILE = "contract.json"
GOLDEN_FILE = "golden.npz"
"""Arrays `features` float32 (sample, [step,] feature) and `scores` float32 (sample, score)."""
ANSWERS_FILE = "golden_answers.npz"
"""The golden answers, and what they are decoded from (`pipelines.recipes.golden_answers`)."""
REFERENCE_FILE = "reference.parquet"
"""Columns symbol, timestamp and one float column per feature: what drift is compared with."""
DRIFT_FILE = "drift.json"
RECORD_FILE = "validation.json"
"""The gate record: a list of `GateRow.to_json()`."""
MANIFEST_FILE = "manifest.json"
CURVES_FILE = "curves.json"


def digest_directory(directory: Path) -> dict[str, str]:
    """Return relative POSIX path -> SHA-256 (hex) of every file below the directory."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return digest_files(directory, [path.relative_to(directory).as_posix() for path in paths])


def digest_files(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Return name -> SHA-256 (hex) of these files, each read from the disk once."""
    return {name: sha256((directory / name).read_bytes()) for name in names}


def artifacts(names: Iterable[str]) -> dict[Artifact, tuple[str, ...]]:
    """Return artifact -> paths of its files, sorted (`onnx/model.onnx` is flavor `onnx`)."""
    found: dict[Artifact, tuple[str, ...]] = {}
    for name in sorted(names):
        if artifact := Artifact.of(name):
            found[artifact] = (*found.get(artifact, ()), name)
    return found


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files of one version on this disk; every read is checked against its digest.

    `digests` come from the engine database: relative path -> SHA-256; so do `accepted`, the
    plausibility gates that a person accepted (`registry.acceptances`).
    """

    model_id: str
    number: int
    directory: Path
    digests: Mapping[str, str]
    accepted: tuple[str, ...] = ()

    def read(self, path: str) -> bytes:
        """Return a file's content: read once, hashed, equal to what was registered.

        Raises:
            MissingArtifactError: not a file of this version (a path that leaves the version's
                folder never is one), or gone from the disk.
            DigestMismatchError: the bytes are not the registered ones.
        """
        which = f"{self.model_id}/{self.number}/{path}"
        if path not in self.digests or not is_inside(path):
            raise MissingArtifactError(which, "the version has no such file")
        try:
            content = (self.directory / path).read_bytes()
        except FileNotFoundError as exc:
            raise MissingArtifactError(which, "the version lists it") from exc
        if (found := sha256(content)) != self.digests[path]:
            raise DigestMismatchError(which, self.digests[path], found)
        return content

    def check(self) -> None:
        """Read every file once, raising as `read` does."""
        for path in self.digests:
            self.read(path)

    @property
    def contract(self) -> ModelContract:
        """What the version takes and gives."""
        return ModelContract.from_json(self.read(CONTRACT_FILE).decode())

    @property
    def decoder(self) -> Decoder:
        """Everything fitted after the scores."""
        names = (decoder.JSON_FILE, decoder.ARRAYS_FILE)
        return Decoder.from_files({name: self.read(name) for name in names})

    @property
    def record(self) -> tuple[GateRow, ...]:
        """The gate record."""
        return tuple(GateRow.from_json(row) for row in json.loads(self.read(RECORD_FILE)))

    def artifacts(self) -> dict[Artifact, tuple[str, ...]]:
        """Return artifact -> paths of its files."""
        return artifacts(self.digests)

    def read_artifact(self, artifact: Artifact) -> dict[str, bytes]:
        """Return path -> content of an artifact's files, each checked as `read` does."""
        return {path: self.read(path) for path in self.artifacts().get(artifact, ())}


def is_inside(path: str) -> bool:
    """Return whether a name stays inside the folder it is joined to."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path and path != ""


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
