"""Clustering: k-means and DBSCAN over rows of features, as states.

The clusters are those of `pipelines.architectures.torch_nets.clusters`, found among standardised
features; the fitted model is arrays. States are in order of rising weighted variance of the newest
return.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
)
from pipelines.architectures.array_estimator import ArrayEstimator
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.rows import checked_rows
from pipelines.architectures.scaling import fit_preprocessing
from pipelines.architectures.spaces import SPACES
from pipelines.architectures.threads import limited_threads
from pipelines.architectures.torch_nets import clusters
from registry.contract import Json
from registry.errors import ParameterError
from registry.flavors.arrays.clusters import NOBODY, ClusterStates
from registry.flavors.arrays.preprocessing import Preprocessing


class Clustering(Architecture):
    """Either method, by its name; it gives as many states as its fit finds."""

    native_format = "arrays"
    default_window = 1
    objectives: tuple[Loss, ...] = ("states",)

    def __init__(self, name: Literal["kmeans", "dbscan"]) -> None:
        self.name: str = name

    def choose(
        self, rows: TrainingRows, objective: Objective, parameters: Mapping[str, Json], seed: int
    ) -> dict[str, Json]:
        """Return the parameters with the number of states that the rows support.

        Raises:
            as `fit`.
        """
        chosen = resolve(SPACES[self.name], parameters)
        rows = checked_rows(self, rows, objective)
        if chosen["n_states"] == 1:
            raise ParameterError("n_states", 1, "0 (chosen from the rows) or at least 2")
        if chosen["n_states"] != 0:
            return chosen
        with limited_threads(chosen["nthread"]):
            points = _points(fit_preprocessing(rows.X, rows.weight, "standard"), rows.X)
            n_states = clusters.choose_n_states(self.name, points, rows.weight, seed)
        return chosen | {"n_states": n_states}

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Find `n_states` clusters; 0 chooses their number from these rows.

        Raises:
            ParameterError: an unknown parameter, a value of the wrong kind or range, or an
                objective other than states.
            ShapeError: no rows, or rows with a window.
            ValueRangeError: an infinite feature, a return that is not finite.
            FitError: fewer rows than states, or too few dense clusters.
        """
        chosen = self.choose(rows, objective, parameters, seed)
        n_states = int(str(chosen["n_states"]))
        preprocessing = fit_preprocessing(rows.X, rows.weight, "standard")
        points = _points(preprocessing, rows.X)
        with limited_threads(chosen["nthread"]):
            found = clusters.find(self.name, self.name, points, rows.weight, n_states, seed)
        ordered = clusters.by_variance(found, points, rows.y, rows.weight)
        return ArrayEstimator(_model(preprocessing, ordered), seed)


def _points(preprocessing: Preprocessing, X: NDArray[np.float32]) -> NDArray[np.float64]:
    return preprocessing(X).astype(np.float64)


def _model(preprocessing: Preprocessing, found: clusters.Clusters) -> ClusterStates:
    far = NOBODY if found.noise is None else found.noise
    return ClusterStates(
        preprocessing=preprocessing,
        centre=found.centres.astype(np.float32),
        state=found.state.astype(np.int64),
        offset=found.offset.astype(np.float32),
        sharpness=np.array([1 / (2 * found.variance)], np.float32),
        far=np.array([far], np.int64),
        far_level=np.array([found.noise_log_weight], np.float32),
    )


KMEANS = Clustering("kmeans")
DBSCAN = Clustering("dbscan")
