"""Flavors: artifact formats. A flavor turns a native model into the files of an artifact.

A flavor has variants: numbers of full or half precision, compressed weights. An `Artifact` is one
variant of one flavor. Each variant is compared with native within a limit of its own.

Extension point: one file per format here, one line in `FLAVORS`, one line in docs/flavors.md;
`tests/conformance/test_flavors.py` then runs on it.

Guarantees of every flavor:
- the artifact computes features -> raw scores, input scaling included, and agrees with native
  within its variant's parity limit (the convert stage measures it and refuses otherwise);
- it contains no code of this repository and no pickle;
- importing its module loads no library; `write` may;
- `write` is deterministic for the same native model as far as its library is.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from registry.catalog import Catalog
from registry.contract import ModelContract

FULL = "fp32"
"""The variant that every flavor has: nothing is reduced."""
STEM = "model"


@dataclass(frozen=True, slots=True, order=True)
class Artifact:
    """One variant of one flavor; `str` gives its name, for example `coreml.fp16`."""

    flavor: str
    variant: str = FULL

    def __str__(self) -> str:
        return f"{self.flavor}.{self.variant}"

    def path(self, suffix: str) -> str:
        """Return where its file or folder lies in a version: `onnx/model.onnx`.

        A further variant has a folder of its own: `coreml/fp16/model.mlpackage`.
        """
        return str(PurePosixPath(self.flavor, *self._folder, f"{STEM}{suffix}"))

    @property
    def _folder(self) -> tuple[str, ...]:
        return () if self.variant == FULL else (self.variant,)

    @classmethod
    def of(cls, path: str) -> "Artifact | None":
        """Return the artifact that a file of a version belongs to, None for other files."""
        match PurePosixPath(path).parts:
            case (flavor, model, *_) if PurePosixPath(model).stem == STEM:
                return cls(flavor)
            case (flavor, variant, model, *_) if PurePosixPath(model).stem == STEM:
                return cls(flavor, variant)
        return None


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
    """One artifact format.

    `variants` are written unless somebody asks for other flavors, `compressions` only on request.
    `libraries` are the converters that `write` imports. Where there are any, it runs in a process
    of its own (`registry.flavors.conversion`), since a converter may take that process down.
    """

    name: str
    libraries: tuple[str, ...]
    variants: tuple[str, ...]
    compressions: tuple[str, ...]

    def unavailable_reason(self) -> str | None:
        """Return the reason why this machine cannot write the flavor; None when it can."""
        ...

    def write(
        self, native: NativeModel, contract: ModelContract, variant: str = FULL
    ) -> dict[str, bytes]:
        """Return the artifact's files: path inside the version -> content.

        Raises:
            UnsupportedModelError: the variant cannot hold this model.
        """
        ...


FLAVORS: Catalog[Flavor] = Catalog(
    "flavor",
    {
        "coreml": "registry.flavors.coreml:FLAVOR",
        "native": "registry.flavors.native:FLAVOR",
        "onnx": "registry.flavors.onnx:FLAVOR",
        "torchscript": "registry.flavors.torchscript:FLAVOR",
    },
)
