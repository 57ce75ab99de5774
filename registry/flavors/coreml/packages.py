"""Packages: a Core ML model as the files of an `.mlpackage` folder, the same bytes every time.

coremltools names the items of a package by random numbers and stamps the day into the model. Here
the names follow from the content, and the stamp is taken out.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

MANIFEST = "Manifest.json"
MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
WEIGHTS_FILE = "weight.bin"
_STAMP = "com.github.apple.coremltools.conversion_date"


@dataclass(frozen=True, slots=True)
class Package:
    """One model: its specification (`Model` of coremltools' protocol buffers) and its weights.

    `weights` is the content of `weight.bin`, empty where the specification holds all numbers.
    """

    specification: Any
    weights: bytes = b""

    def files(self) -> dict[str, bytes]:
        """Return path inside the package -> content."""
        self.specification.description.metadata.userDefined.pop(_STAMP, None)
        model: bytes = self.specification.SerializeToString(deterministic=True)
        files = {MANIFEST: self._manifest(model), f"Data/{MODEL}": model}
        if self.weights:
            files[f"Data/{WEIGHTS}/{WEIGHTS_FILE}"] = self.weights
        return files

    def _manifest(self, model: bytes) -> bytes:
        root = _item(MODEL, "CoreML Model Specification", model)
        items = dict([root])
        if self.weights:
            items |= dict([_item(WEIGHTS, "CoreML Model Weights", self.weights)])
        facts = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": items,
            "rootModelIdentifier": root[0],
        }
        return json.dumps(facts, indent=4, sort_keys=True).encode()


def _item(path: str, description: str, content: bytes) -> tuple[str, dict[str, str]]:
    """Return the identifier and the entry of one item."""
    author, _, name = path.partition("/")
    digest = hashlib.sha256(path.encode() + content).digest()
    entry = {"author": author, "description": description, "name": name, "path": path}
    return str(uuid.UUID(bytes=digest[:16], version=4)).upper(), entry
