"""One small model of each kind that the flavor writes, with the contract of its version."""

from functools import cache

import numpy as np
from torch import nn

from registry.contract import ModelContract
from registry.flavors import FULL, Artifact, NativeModel
from registry.flavors.arrays import ArrayModel, save_arrays
from registry.flavors.arrays.clusters import ClusterStates
from registry.flavors.arrays.forest import ISOLATION, LOG, Forest
from registry.flavors.arrays.linear import Linear
from registry.flavors.arrays.markov import MarkovFilter
from registry.flavors.arrays.preprocessing import Preprocessing
from registry.flavors.arrays.scenarios import Scenarios
from registry.flavors.coreml import FLAVOR
from registry.flavors.coreml_reference.models import Model, open_model
from registry.flavors.programs import save_program
from tests.examples import make_contract


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


PREPROCESSING = Preprocessing(f32(1, 2), f32(-9, -9), f32(9, 9), f32(1, 2), f32(1, 0.5))


def forest(link: int, leaf: np.ndarray, base: np.ndarray) -> Forest:
    """Two trees, one of depth 2; the first sends missing values right, the second left."""
    return Forest(
        n_features=2,
        root=i64(0, 5),
        feature=i64(0, 1, 0, 0, 0, 1, 0, 0),
        value=f32(0.5, -1, 0, 0, 0, 1.5, 0, 0),
        left=i64(1, 3, 2, 3, 4, 6, 6, 7),
        right=i64(2, 4, 2, 3, 4, 7, 6, 7),
        nan_left=i64(0, 0, 0, 0, 0, 1, 0, 0),
        leaf=leaf,
        base=base,
        link=link,
    )


def stump_of_leaves() -> Forest:
    """Two trees of one leaf each."""
    return Forest(
        n_features=1,
        root=i64(0, 1),
        feature=i64(0, 0),
        value=f32(0, 0),
        left=i64(0, 1),
        right=i64(0, 1),
        nan_left=i64(0, 0),
        leaf=f32([1], [2]),
        base=f32(0.5),
    )


ARRAYS: dict[str, ArrayModel] = {
    "linear": Linear(PREPROCESSING, f32([1, 0], [2, 1]), f32(0, 5)),
    "linear-of-unit-rows": Linear(PREPROCESSING, f32([1, 0], [2, 1]), f32(0, 5), True),
    "forest": forest(0, f32([0], [0], [1], [2], [3], [0], [10], [20]), f32(100)),
    "forest-of-frequencies": forest(
        LOG,
        f32([0, 0], [0, 0], [0.5, 0], [0.25, 0.25], [0, 0.5], [0, 0], [0.5, 0], [0, 0.5]) * 1,
        f32(0, 0),
    ),
    "forest-of-paths": forest(
        ISOLATION, f32([0], [0], [0.4], [0.6], [0.3], [0], [0.2], [0.7]), f32(0)
    ),
    "forest-of-leaves": stump_of_leaves(),
    "clusters": ClusterStates(
        PREPROCESSING, f32([0, 0], [3, 0]), i64(0, 2), f32(0, 0), f32(1), i64(1), f32(-4)
    ),
    "scenarios": Scenarios(f32([0.1, -0.2], [0.3, 0], [-0.1, 0.05])),
    "hmm": MarkovFilter(
        window=3,
        preprocessing=PREPROCESSING,
        start=np.log(f32(0.5, 0.5)),
        transition=np.log(f32([0.9, 0.1], [0.2, 0.8])),
        whiten=np.hstack([np.eye(2), np.eye(2)]).astype(np.float32),
        centre=f32([0, 0], [2, 0]),
        level=f32(0, 0),
    ),
}


@cache
def arrays(name: str) -> tuple[NativeModel, ModelContract]:
    """One of `ARRAYS` as a version has it."""
    model = ARRAYS[name]
    n_features = model.row_shape[-1]
    contract = make_contract(
        model.n_scores,
        architecture=name,
        feature_names=tuple(f"f{i}" for i in range(n_features)),
        window=model.row_shape[0] if len(model.row_shape) == 2 else 1,
        native_format="arrays",
    )
    return save_arrays(model), contract


@cache
def network(module: nn.Module | None = None) -> tuple[NativeModel, ModelContract]:
    """A network of two features, 3 scores unless a module is given."""
    small = nn.Sequential(
        nn.Linear(2, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 3)
    )
    payload = save_program((module or small).eval(), (2,))
    contract = make_contract(3, architecture="mlp", native_format="torch-export")
    return NativeModel("torch-export", payload), contract


def opened(native: NativeModel, contract: ModelContract, variant: str = FULL) -> Model:
    """The package of a model, evaluated by the reference."""
    return evaluated(FLAVOR.write(native, contract, variant), variant)


def evaluated(files: dict[str, bytes], variant: str = FULL) -> Model:
    """The model of a package's files."""
    folder = Artifact(FLAVOR.name, variant).path(".mlpackage")
    return open_model({path.removeprefix(f"{folder}/"): files[path] for path in files})


@cache
def written(name: str, variant: str = FULL) -> dict[str, bytes]:
    """The files of one of `ARRAYS` or of the network, made once per process."""
    return FLAVOR.write(*(network() if name == "network" else arrays(name)), variant)
