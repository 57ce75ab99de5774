"""Flavors: artifact formats. A flavor turns a native model into the bytes of one file.

Extension point: one file per format here, one line in `FLAVORS`, one line in docs/flavors.md;
`tests/conformance/test_flavors.py` then runs on it.

Guarantees of every flavor:
- the artifact computes features -> raw scores, input scaling included, and agrees with native
  within the template's parity limit (the convert stage measures it and refuses otherwise);
- it contains no code of this repository and no pickle;
- `write` is deterministic for the same native model as far as its library is.
"""

from dataclasses import dataclass
from typing import Protocol

from registry.catalog import Catalog
from registry.contract import ModelContract


@dataclass(frozen=True, slots=True)
class NativeModel:
    """A fitted model in its library's own safe format.

    `format` is `"xgboost-ubj"` (a Booster saved as UBJSON), `"lightgbm-txt"` (LightGBM's model
    text), `"catboost-cbm"` (CatBoost's binary file), `"arrays"` (safetensors of a model of
    `registry.flavors.arrays`) or `"torch-export"` (a `.pt2` file of `torch.export`). `payload` is
    the file's content.
    """

    format: str
    payload: bytes


class Flavor(Protocol):
    """One artifact format."""

    name: str

    def file_name(self, native_format: str) -> str:
        """Return the artifact's path inside a version, for example `onnx/model.onnx`."""
        ...

    def write(self, native: NativeModel, contract: ModelContract) -> bytes:
        """Return the artifact's content.

        Raises:
            UnsupportedModelError: the format cannot hold this model.
        """
        ...


FLAVORS: Catalog[Flavor] = Catalog(
    "flavor",
    {
        "native": "registry.flavors.native:FLAVOR",
        "onnx": "registry.flavors.onnx:FLAVOR",
    },
)
