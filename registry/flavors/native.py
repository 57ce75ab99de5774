"""Flavor `native`: the fitted model exactly as its library saved it.

Every other flavor is compared with it. Formats: XGBoost's UBJSON, LightGBM's text,
CatBoost's binary file, safetensors of arrays that numpy evaluates, and the `.pt2` file of
`torch.export`; none needs a class of `pipelines`. A `.pt2` file is a program: it is loaded only
after its digest was checked against the one recorded at registration.
"""

from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import NativeModel

_FILE_NAMES = {
    "arrays": "native/model.safetensors",
    "catboost-cbm": "native/model.cbm",
    "lightgbm-txt": "native/model.txt",
    "torch-export": "native/model.pt2",
    "xgboost-ubj": "native/model.ubj",
}
PROGRAMS = ("torch-export",)
"""Formats that are programs and not just numbers: never run without a digest of our own."""


class Native:
    """The library's own format."""

    name = "native"

    def file_name(self, native_format: str) -> str:
        """Return `native/model.` and the format's own ending.

        Raises:
            UnsupportedModelError: a format that no backend can load.
        """
        if native_format not in _FILE_NAMES:
            known = ", ".join(sorted(_FILE_NAMES))
            raise UnsupportedModelError(self.name, native_format, f"known formats: {known}")
        return _FILE_NAMES[native_format]

    def write(self, native: NativeModel, contract: ModelContract) -> bytes:
        """Return the payload unchanged."""
        self.file_name(native.format)
        return native.payload


FLAVOR = Native()
