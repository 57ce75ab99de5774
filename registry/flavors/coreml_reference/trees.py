"""Trees: a tree ensemble, read and checked as Apple's own validator does, and its sum.

The score k of a row is `basePredictionValue[k]` plus the values for k of the leaves that the row
reaches, added as doubles. At a branch the feature is compared as a double; a missing value (NaN)
goes the way that the branch names. A post-evaluation transform other than none is refused: our
packages hold raw scores.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.columns import Columns
from registry.flavors.coreml_reference.schema import ENUMERATIONS
from registry.flavors.coreml_reference.values import sized
from registry.flavors.coreml_reference.wire import Message

BEHAVIORS = ENUMERATIONS["TreeEnsembleParameters.TreeNode.TreeNodeBehavior"]
LEAF = max(BEHAVIORS)
BRANCHES = {
    "BranchOnValueLessThanEqual": (True, True, False),
    "BranchOnValueLessThan": (True, False, False),
    "BranchOnValueGreaterThanEqual": (False, True, True),
    "BranchOnValueGreaterThan": (False, False, True),
    "BranchOnValueEqual": (False, True, False),
    "BranchOnValueNotEqual": (True, False, True),
}
"""Whether a branch goes to its true child when the feature is below, at or above its value."""
BRANCH_FIELDS = (
    "branchFeatureIndex",
    "branchFeatureValue",
    "trueChildNodeId",
    "falseChildNodeId",
    "missingValueTracksTrueChild",
)
MOST_SCORES = 4096
CHUNK_ROWS = 256

Index = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trees:
    """An ensemble as arrays, one entry per node; a leaf's children are itself.

    `child` (n_nodes, 2) is the false and the true child. `goes` (n_nodes, 4) says whether a row
    goes to the true child when its feature is below, at or above `value`, or missing. `leaf`
    (n_nodes, n_scores) is 0 at branches. `root` holds one node per tree and `base` (n_scores,).
    """

    root: Index
    feature: Index
    value: Floats
    child: Index
    goes: NDArray[np.bool_]
    leaf: Floats
    base: Floats
    depth: int

    @property
    def n_scores(self) -> int:
        """How many scores a row gets."""
        return len(self.base)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores (n, n_scores) for features (n, n_features)."""
        starts = range(0, len(features), CHUNK_ROWS)
        parts = [self._sums(features[at : at + CHUNK_ROWS]) for at in starts]
        with np.errstate(over="ignore"):
            return np.concatenate([np.empty((0, self.n_scores)), *parts]).astype(np.float32)

    def _sums(self, features: NDArray[np.float32]) -> Floats:
        """Follow every row down every tree at once, one level per step."""
        rows = features.astype(np.float64).ravel()
        first = np.arange(len(features))[:, None] * features.shape[1]
        at = np.broadcast_to(self.root, (len(features), len(self.root)))
        goes, child = self.goes.ravel(), self.child.ravel()
        for _ in range(self.depth):
            x, value = rows[first + self.feature[at]], self.value[at]
            place = np.where(np.isnan(x), 3, (x >= value).astype(np.int8) + (x > value))
            at = child[2 * at + goes[4 * at + place]]
        sums = [self.leaf[at, k].sum(axis=1) for k in range(self.n_scores)]
        return np.asarray(self.base + np.stack(sums, axis=1))


def read_trees(message: Message, n_features: int) -> Trees:
    """Return the ensemble of a regressor over so many features.

    Raises:
        UnevaluatedPackageError: a post-evaluation transform.
        UnreadableArtifactError: nodes that are not trees, or lead outside.
    """
    transform = message.text("postEvaluationTransform") or "NoTransform"
    if transform != "NoTransform":
        raise UnevaluatedPackageError(f"post-evaluation transform {transform}", ["NoTransform"])
    parameters = message.message("treeEnsemble")
    nodes = parameters.columns("nodes")
    n_scores = parameters.integer("numPredictionDimensions")
    base = np.array(parameters.many("basePredictionValue") or [0.0] * min(n_scores, MOST_SCORES))
    if not 1 <= n_scores <= MOST_SCORES or len(base) != n_scores or not len(nodes):
        cause = f"{len(nodes)} nodes and {len(base)} base values for {n_scores} scores"
        raise UnreadableArtifactError(FLAVOR, cause)
    is_leaf = nodes.values["nodeBehavior"] == LEAF
    for name in BRANCH_FIELDS:
        _expect(nodes, ~is_leaf | (nodes.values[name] == 0), "is a leaf and a branch")
    child = _children(nodes, is_leaf)
    root, depth = _roots(nodes, child, is_leaf)
    feature = nodes.values["branchFeatureIndex"]
    if feature.max() >= n_features:
        cause = f"a branch on feature {feature.max()} of {n_features}"
        raise UnreadableArtifactError(FLAVOR, cause)
    return Trees(
        root=root,
        feature=feature.astype(np.int64),
        value=nodes.values["branchFeatureValue"],
        child=child,
        goes=_directions(nodes),
        leaf=_leaves(nodes, is_leaf, n_scores),
        base=base,
        depth=depth,
    )


def count_nodes(message: Message) -> dict[str, int]:
    """Return how many nodes of each behaviour the ensemble of a regressor has."""
    behaviors = message.message("treeEnsemble").columns("nodes").values["nodeBehavior"]
    return {BEHAVIORS[k]: n for k, n in enumerate(np.bincount(behaviors.astype(np.int64))) if n}


def _expect(nodes: Columns, holds: NDArray[np.bool_], fault: str) -> None:
    """Refuse the first node for which something does not hold."""
    if not holds.all():
        k = int(np.argmin(holds))
        place = f"node {nodes.values['nodeId'][k]} of tree {nodes.values['treeId'][k]}"
        raise UnreadableArtifactError(FLAVOR, f"{place} {fault}")


def _directions(nodes: Columns) -> NDArray[np.bool_]:
    """Return whether rows go to the true child: below, at, above the value, and missing."""
    table = np.array([BRANCHES.get(BEHAVIORS[k], (False,) * 3) for k in sorted(BEHAVIORS)])
    ways = table[nodes.values["nodeBehavior"].astype(np.int64)]
    return np.column_stack([ways, nodes.values["missingValueTracksTrueChild"] == 1])


def _children(nodes: Columns, is_leaf: NDArray[np.bool_]) -> Index:
    """Return the false and the true child of every node: itself at a leaf."""
    _, tree = np.unique(nodes.values["treeId"], return_inverse=True)
    names, number = np.unique(nodes.values["nodeId"], return_inverse=True)
    key = tree * len(names) + number
    order = np.argsort(key, kind="stable")
    if (np.diff(key[order]) == 0).any():
        raise UnreadableArtifactError(FLAVOR, "two nodes of a tree have one number")
    here = np.arange(len(nodes))
    child = np.empty((len(nodes), 2), np.int64)
    for side, field in enumerate(("falseChildNodeId", "trueChildNodeId")):
        wanted = nodes.values[field]
        place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
        sought = tree * len(names) + place
        found = order[np.minimum(np.searchsorted(key[order], sought), len(nodes) - 1)]
        is_there = (names[place] == wanted) & (key[found] == sought) & (found != here)
        _expect(nodes, is_leaf | is_there, f"has no child {_first(wanted, is_leaf | is_there)}")
        child[:, side] = np.where(is_leaf, here, found)
    return child


def _first(values: NDArray[Any], holds: NDArray[np.bool_]) -> Any:
    return values[int(np.argmin(holds))]


def _roots(nodes: Columns, child: Index, is_leaf: NDArray[np.bool_]) -> tuple[Index, int]:
    """Return the root of every tree and the depth of the deepest.

    Every other node has exactly one parent and is reached from its root.
    """
    parents = np.bincount(child[~is_leaf].ravel(), minlength=len(nodes))
    _expect(nodes, parents <= 1, "has several parents")
    root = np.flatnonzero(parents == 0)
    n_trees = len(np.unique(nodes.values["treeId"]))
    if len(np.unique(nodes.values["treeId"][root])) != len(root) or len(root) != n_trees:
        cause = f"{len(root)} nodes without a parent in {n_trees} trees"
        raise UnreadableArtifactError(FLAVOR, cause)
    level, reached, depth = root, len(root), 0
    while (inner := level[~is_leaf[level]]).size:
        level = child[inner].ravel()
        reached, depth = reached + len(level), depth + 1
    if reached != len(nodes):
        raise UnreadableArtifactError(FLAVOR, "nodes that no root leads to")
    return root, depth


def _leaves(nodes: Columns, is_leaf: NDArray[np.bool_], n_scores: int) -> Floats:
    owner, values = nodes.nested["evaluationInfo"]
    counts = np.bincount(owner, minlength=len(nodes))
    wrong = f"has {_first(counts, (counts > 0) == is_leaf)} values"
    _expect(nodes, (counts > 0) == is_leaf, wrong)
    place = values.values["evaluationIndex"]
    if place.max() >= n_scores:
        cause = f"a leaf has a value for score {place.max()} of {n_scores}"
        raise UnreadableArtifactError(FLAVOR, cause)
    flat = owner * n_scores + place.astype(np.int64)
    if len(np.unique(flat)) != len(flat):
        raise UnreadableArtifactError(FLAVOR, "a leaf has two values for one score")
    leaf = np.zeros(sized(len(nodes), n_scores))
    leaf.ravel()[flat] = values.values["evaluationValue"]
    return leaf
