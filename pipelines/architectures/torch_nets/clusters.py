"""Clusters of points as states: found by scikit-learn at fit time, kept as plain arrays.

`kmeans` gives every state one centre. With the pooled variance within clusters and their shares
that is a mixture of spherical Gaussians, and the log weights are its posterior up to a constant.
`dbscan` (Ester et al. 1996) gives every dense cluster its core points. One more state holds the
points farther than eps from all of them, which it calls noise. States are in order of rising
weighted variance of a series of returns, so that state 0 is the calm one for every seed.

Used by architectures that turn inputs into points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from pipelines.architectures.spaces import MOST_CLUSTERS
from registry.errors import FitError

STABLE = 0.6
"""A number of states is stable from this adjusted Rand index between the halves' clusterings."""

SILHOUETTE_POINTS = 1000
"""Most points for the silhouette, which compares every two of them."""

LEAST_VARIANCE = 0.1
"""Of a cluster of standardised points: below it, log weights would magnify the last digits of
float32 beyond what flavors agree on."""

DBSCAN_POINTS = 500
"""Most points for DBSCAN, evenly spaced in time; its core points stay in the model."""

NEIGHBOURS = 10
EPS_QUANTILES = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Quantiles of the distance to the tenth neighbour, tried as eps from wide to narrow."""

DENSE_SHARE = 0.05
"""Share of the points below which a dense cluster makes no state of its own."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centres of states, sorted by state.

    `centres` is (n_centres, n_dims); `state` (n_centres,) says whose each is; the log weight of a
    state is the largest of `offset` - squared distance / (2 `variance`) over its centres.
    The state `noise` (None: there is none) has no centre but the log weight `noise_log_weight`,
    which a dense state has at distance eps from its nearest core point.
    """

    centres: NDArray[np.float64]
    state: NDArray[np.intp]
    offset: NDArray[np.float64]
    variance: float
    noise: int | None = None
    noise_log_weight: float = 0.0

    @property
    def n_states(self) -> int:
        """Number of states, the one of noise included."""
        return int(self.state.max()) + 1 if self.noise is None else len(set(self.state)) + 1

    def log_weights(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return unnormalised log weights, (n, n_states)."""
        found = np.full((len(points), self.n_states), self.noise_log_weight)
        squared = ((points[:, None] - self.centres[None]) ** 2).sum(axis=2)
        every = self.offset - squared / (2 * self.variance)
        for k in np.unique(self.state):
            found[:, k] = every[:, self.state == k].max(axis=1)
        return found

    def in_order(self, order: Sequence[int]) -> "Clusters":
        """Return the same clusters with state `order[i]` called i."""
        rank = np.argsort(np.asarray(order))
        renamed = rank[self.state]
        by_state = np.argsort(renamed, kind="stable")
        noise = None if self.noise is None else int(rank[self.noise])
        return replace(
            self,
            centres=self.centres[by_state],
            state=renamed[by_state],
            offset=self.offset[by_state],
            noise=noise,
        )


def find(
    name: str,
    method: str,
    points: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_states: int,
    seed: int,
) -> Clusters:
    """Return clusters of points (n, n_dims), their states in no particular order.

    `dbscan` does not use the weights.

    Raises:
        FitError: fewer points than states, or DBSCAN finds too few dense clusters at every eps.
    """
    if len(points) < max(n_states, NEIGHBOURS):
        problem = f"{len(points)} points for {n_states} states"
        raise FitError(name, problem, "use more bars or fewer states")
    if method == "kmeans":
        return _kmeans(points, weight, n_states, seed)
    return _dbscan(name, _spread(points, DBSCAN_POINTS), n_states)


def by_variance(
    clusters: Clusters,
    points: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> Clusters:
    """Return the clusters with their states in order of rising weighted variance of y (n,)."""
    log_weights = clusters.log_weights(points)
    log_total = np.logaddexp.reduce(log_weights, axis=1)
    share = np.exp(log_weights - log_total[:, None]) * weight[:, None]
    mass = share.sum(axis=0)
    mean = share.T @ y / mass
    variance = share.T @ y**2 / mass - mean**2
    return clusters.in_order(np.argsort(variance, kind="stable").tolist())


def choose_n_states(
    method: str, points: NDArray[np.float64], weight: NDArray[np.float64], seed: int
) -> int:
    """Return the number of states that the points, in time order, support.

    `kmeans`: of 2 to 6, the highest silhouette among the stable numbers: clusters found in the
    older half and in the newer half alone must put the newer half's points together alike
    (adjusted Rand index of at least 0.6). Where no number is stable, the stablest. (BIC of the
    mixture takes the most states: latent clusters are not spherical and neighbouring points not
    independent.) `dbscan`: the dense clusters at the widest eps, and noise.
    """
    if method == "dbscan":
        seen = _spread(points, DBSCAN_POINTS)
        return min(max(len(_dense(seen, _eps(seen, EPS_QUANTILES[0]))) + 1, 2), MOST_CLUSTERS)
    counts = range(2, MOST_CLUSTERS + 1)
    stability = {k: _stability(points, weight, k, seed) for k in counts}
    stable = [k for k in counts if stability[k] >= STABLE]
    if not stable:
        return max(counts, key=stability.__getitem__)
    seen = _spread(points, SILHOUETTE_POINTS)
    return max(stable, key=lambda k: _silhouette(seen, _kmeans(points, weight, k, seed)))


def _kmeans(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_states: int, seed: int
) -> Clusters:
    fitted = KMeans(n_states, n_init=5, random_state=seed).fit(points, sample_weight=weight)
    share = np.bincount(fitted.labels_, weight, minlength=n_states) / weight.sum()
    variance = float(fitted.inertia_) / (weight.sum() * points.shape[1])
    centres = fitted.cluster_centers_.astype(np.float64)
    floor = np.finfo(np.float32).tiny
    return Clusters(
        centres,
        np.arange(n_states),
        np.log(np.maximum(share, floor)),
        max(variance, LEAST_VARIANCE),
    )


def _stability(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_states: int, seed: int
) -> float:
    half = len(points) // 2
    older, newer = (
        _kmeans(points[part], weight[part], n_states, seed)
        for part in (slice(0, half), slice(half, None))
    )
    labels = [found.log_weights(points[half:]).argmax(axis=1) for found in (older, newer)]
    return float(adjusted_rand_score(*labels))


def _silhouette(points: NDArray[np.float64], clusters: Clusters) -> float:
    """Return the mean silhouette (Rousseeuw 1987); -1 where all points are in one cluster."""
    labels = clusters.log_weights(points).argmax(axis=1)
    return float(silhouette_score(points, labels)) if len(np.unique(labels)) > 1 else -1.0


def _dbscan(name: str, points: NDArray[np.float64], n_states: int) -> Clusters:
    found = 0
    for quantile in EPS_QUANTILES:
        eps = _eps(points, quantile)
        dense = _dense(points, eps)
        if len(dense) >= n_states - 1:
            state = np.repeat(np.arange(n_states - 1), [len(c) for c in dense[: n_states - 1]])
            centres = np.concatenate(dense[: n_states - 1])
            variance = max(eps**2 / 8, LEAST_VARIANCE)
            at_eps = -(eps**2) / (2 * variance)
            return Clusters(centres, state, np.zeros(len(state)), variance, n_states - 1, at_eps)
        found = max(found, len(dense))
    problem = f"dbscan finds {found} dense clusters, n_states={n_states} needs {n_states - 1}"
    raise FitError(name, problem, "use fewer states, or clustering kmeans")


def _eps(points: NDArray[np.float64], quantile: float) -> float:
    """Return a quantile of the distance to the tenth neighbour."""
    distance, _ = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(points)
    return float(max(np.quantile(distance[:, -1], quantile), np.finfo(np.float32).eps))


def _dense(points: NDArray[np.float64], eps: float) -> list[NDArray[np.float64]]:
    """Return the core points of each dense cluster that is large enough, largest first."""
    fitted = DBSCAN(eps=eps, min_samples=NEIGHBOURS).fit(points)
    core, labels = fitted.core_sample_indices_, fitted.labels_
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    large = [k for k in np.argsort(-sizes, kind="stable") if sizes[k] >= DENSE_SHARE * len(points)]
    return [points[core[labels[core] == k]] for k in large]


def _spread(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return at most `most` points, evenly spaced in time."""
    n = min(len(points), most)
    return points[np.linspace(0, len(points) - 1, n).astype(np.intp)]
