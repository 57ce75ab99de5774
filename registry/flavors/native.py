"""Flavor `native`: the fitted model exactly as its library saved it.

Every other flavor is compared with it. Formats: XGBoost's UBJSON, LightGBM's text,
CatBoost's binary file, safetensors of arrays that numpy evaluates, and the `.pt2` file of
`torch.export`; none needs a class of `pipelines`. A `.pt2` file is a program: it is loaded only
after its digest was checked against the one recorded at registration.
"""

from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import FULL, Artifact, NativeModel

NATIVE = Artifact("native")
_SUFFIXES = {
    "arrays": ".safetensors",
    "catboost-cbm": ".cbm",
    "lightgbm-txt": ".txt",
    "torch-export": ".pt2",
    "xgboost-ubj": ".ubj",
}
PROGRAMS = ("torch-export",)
"""Formats that are programs and not just numbers: never run without a digest of our own."""


def native_path(native_format: str) -> str:
    """Return where the native file lies in a version, for example `native/model.ubj`.

    Raises:
        UnsupportedModelError: a format that no backend can load.
    """
    if native_format not in _SUFFIXES:
        known = ", ".join(sorted(_SUFFIXES))
        raise UnsupportedModelError("native", native_format, f"known formats: {known}")
    return NATIVE.path(_SUFFIXES[native_format])


class Native:
    """The library's own format."""

    name = "native"
    libraries: tuple[str, ...] = ()
    variants = (FULL,)
    compressions = ()

    def unavailable_reason(self) -> str | None:
        """Return None: the file is there already."""
        return None

    def write(
        self, native: NativeModel, contract: ModelContract, variant: str = FULL
    ) -> dict[str, bytes]:
        """Return the payload unchanged."""
        return {native_path(native.format): native.payload}


FLAVOR = Native()
