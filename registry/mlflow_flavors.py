"""MLflow's flavors: under which names a version's MLmodel lists its artifacts.

An artifact that a loader of MLflow can read without a pickle stands under MLflow's own name, with
the keys that this loader reads: `mlflow.xgboost.load_model("models:/NAME/1")` then works. Any other
stands under a name that no loader of MLflow looks for. `.pt2` is such a one: `mlflow.pytorch` could
find it, but it is a program, and MLflow compares no digest before it runs one.
"""

import os.path
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from registry.flavors import FULL, Artifact
from registry.flavors.native import NATIVE

PREFIX = "nautilus_"
"""Of the names that are not MLflow's."""


@dataclass(frozen=True, slots=True)
class MlflowFlavor:
    """A flavor of MLflow.

    Its loader reads `keys` in the MLmodel, and the library's version under `version_key`. It
    imports the library, whose package has one of the names in `library` (name -> the marker of the
    systems where it has that name), and the packages of `further`.
    """

    name: str
    library: Mapping[str, str]
    version_key: str
    keys: Mapping[str, Any]
    further: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The library's version as installed."""
        *others, last = self.library
        for name in others:
            try:
                return installed(name)
            except PackageNotFoundError:
                continue
        return installed(last)

    def requirements(self) -> list[str]:
        """Return the packages, pinned as installed."""
        library = [f"{name}=={self.version}{mark}" for name, mark in self.library.items()]
        return [*library, *map(pinned, self.further)]


LOADED_BY_MLFLOW: Mapping[str, MlflowFlavor] = {
    "xgboost-ubj": MlflowFlavor(
        "xgboost",
        {
            "xgboost-cpu": '; sys_platform == "linux"',
            "xgboost": '; sys_platform != "linux"',
        },
        "xgb_version",
        {"model_class": "xgboost.core.Booster", "model_format": "ubj"},
    ),
    "lightgbm-txt": MlflowFlavor(
        "lightgbm", {"lightgbm": ""}, "lgb_version", {"model_class": "lightgbm.basic.Booster"}
    ),
    "catboost-cbm": MlflowFlavor(
        "catboost",
        {"catboost": ""},
        "catboost_version",
        {"model_type": "CatBoost", "save_format": "cbm"},
    ),
    "onnx": MlflowFlavor(
        "onnx",
        {"onnx": ""},
        "onnx_version",
        {"providers": ["CPUExecutionProvider"]},
        further=("onnxruntime",),
    ),
}
"""Native format, or flavor, -> the flavor of MLflow that loads it."""


def listed(
    carried: Mapping[Artifact, Iterable[str]], native_format: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, keys) of each artifact for an MLmodel; `data` is its file or folder."""
    for artifact, paths in sorted(carried.items()):
        data = os.path.commonpath(tuple(paths))
        kind = _kind(artifact, native_format)
        if flavor := LOADED_BY_MLFLOW.get(kind):
            yield flavor.name, {"data": data, flavor.version_key: flavor.version, **flavor.keys}
        else:
            yield PREFIX + kind.replace("-", "_").replace(".", "_"), {"data": data}


def loader_requirements(carried: Iterable[Artifact], native_format: str) -> list[str]:
    """Return the packages, pinned as installed, that MLflow's loaders of these artifacts import."""
    kinds = [_kind(artifact, native_format) for artifact in sorted(carried)]
    found = [LOADED_BY_MLFLOW[kind] for kind in kinds if kind in LOADED_BY_MLFLOW]
    return [line for flavor in found for line in flavor.requirements()]


def pinned(package: str) -> str:
    """Return `NAME==VERSION` as installed."""
    return f"{package}=={installed(package)}"


def _kind(artifact: Artifact, native_format: str) -> str:
    """Return the native format, the flavor, or flavor and variant where it is not the full one."""
    if artifact == NATIVE:
        return native_format
    return artifact.flavor if artifact.variant == FULL else str(artifact)
