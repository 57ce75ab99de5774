"""Flavor `coreml`: packages for Apple's Core ML, written on any machine that has coremltools.

Networks become ML Programs by way of a trace (`networks`), arrays by one translator of the
project's own graphs (`operations`), boosted trees a TreeEnsemble (`trees`). A package takes
`features` and gives `scores`, both float32: an ML Program 1 to 4,096 rows, a TreeEnsemble one row.
The same native model gives the same bytes. coremltools and torch are imported when something is
written; importing this package is free.
"""

import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from registry.contract import ModelContract
from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import FULL, Artifact, NativeModel
from registry.flavors.arrays import open_arrays
from registry.flavors.coreml.compression import COMPRESSIONS
from registry.flavors.coreml.descent import LEAVES
from registry.flavors.coreml.metadata import describe
from registry.flavors.coreml.networks import trace
from registry.flavors.coreml.operations import PASSES, has_trees, make_program
from registry.flavors.coreml.packages import Package
from registry.flavors.coreml.programs import ProgramSource, write_program
from registry.flavors.coreml.silence import silence
from registry.flavors.coreml.trees import write_trees
from registry.flavors.graphs import INPUT, OUTPUT, Graph
from registry.flavors.programs import open_program
from registry.flavors.torchscript import row_shape
from registry.flavors.trees import TreeEnsemble
from registry.flavors.trees.catboost import read_catboost
from registry.flavors.trees.lightgbm import read_lightgbm
from registry.flavors.trees.xgboost import read_xgboost
from registry.settings import PlatformSettings, read_settings

WHEELS = (("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "x86_64"))
"""Systems and processors that coremltools has a wheel for."""


class Coreml:
    """Core ML packages, a folder of files per variant."""

    name = "coreml"
    libraries: tuple[str, ...] = ("coremltools",)
    variants = (FULL, "fp16")
    compressions = tuple(COMPRESSIONS)

    def unavailable_reason(self) -> str | None:
        """Return why nothing can be written on this machine; None when it can."""
        if find_spec("coremltools") is not None:
            return None
        if (sys.platform, platform.machine()) not in WHEELS:
            machine = f"{sys.platform} on {platform.machine()}"
            return f"coremltools has no wheel for this machine ({machine})"
        return "coremltools is not installed"

    def write(
        self, native: NativeModel, contract: ModelContract, variant: str = FULL
    ) -> dict[str, bytes]:
        """Return the files of a package: path inside the version -> content.

        Raises:
            UnsupportedModelError: coremltools is not here, or cannot hold the model in this
                variant.
            UnreadableArtifactError: the payload is not what its format or the contract says.
            SettingValueError: COREML_MINIMUM_TARGET is no target.
        """
        if reason := self.unavailable_reason():
            raise UnsupportedModelError(self.name, native.format, reason)
        known = (*self.variants, *self.compressions)
        if variant not in known:
            reason = f"unknown variant {variant!r}; known: {', '.join(known)}"
            raise UnsupportedModelError(self.name, native.format, reason)
        if native.format not in _WRITERS:
            reason = f"known formats: {', '.join(sorted(_WRITERS))}"
            raise UnsupportedModelError(self.name, native.format, reason)
        minimum = read_settings(PlatformSettings).coreml_minimum_target
        with silence():
            package = _WRITERS[native.format](native.payload, contract, variant, _target(minimum))
            describe(package.specification, contract, variant)
            files = package.files()
        folder = Artifact(self.name, variant).path(".mlpackage")
        return {f"{folder}/{path}": content for path, content in files.items()}


Writer = Callable[[bytes, ModelContract, str, Any], Package]


def _target(name: str) -> Any:
    import coremltools as ct

    return ct.target[name]


def _from_network(payload: bytes, contract: ModelContract, variant: str, target: Any) -> Package:
    shape = row_shape(open_program(payload))
    _expect_rows(shape, contract)
    source = ProgramSource(contract.architecture, shape, lambda: trace(payload))
    return write_program(source, variant, target)


def _from_arrays(payload: bytes, contract: ModelContract, variant: str, target: Any) -> Package:
    model = open_arrays(payload)
    _expect_rows(model.row_shape, contract)
    graph = Graph()
    model.add_to(graph, INPUT, OUTPUT)

    def is_half(operation: str) -> bool:
        # a threshold rounded to float16 takes another branch: of trees only the leaves are halved
        return not has_trees(graph) or operation.startswith(LEAVES)

    source = ProgramSource(
        contract.architecture,
        model.row_shape,
        lambda: make_program(graph, model.row_shape, target),
        is_half,
        PASSES,
    )
    return write_program(source, variant, target)


def _from_trees(read: Callable[[bytes, str], TreeEnsemble]) -> Writer:
    def write(payload: bytes, contract: ModelContract, variant: str, target: Any) -> Package:
        if variant != FULL:
            raise UnsupportedModelError("coreml", variant, "a TreeEnsemble has one precision")
        trees = read(payload, "coreml")
        _expect_rows((trees.n_features,), contract)
        return write_trees(trees, int(target.value))

    return write


def _expect_rows(found: tuple[int, ...], contract: ModelContract) -> None:
    wanted = contract.inputs.shape[1:]
    if found != wanted:
        cause = f"it takes rows of shape {found}, the contract says {wanted}"
        raise UnreadableArtifactError("native", cause)


_WRITERS: dict[str, Writer] = {
    "arrays": _from_arrays,
    "catboost-cbm": _from_trees(read_catboost),
    "lightgbm-txt": _from_trees(read_lightgbm),
    "torch-export": _from_network,
    "xgboost-ubj": _from_trees(read_xgboost),
}

FLAVOR = Coreml()
