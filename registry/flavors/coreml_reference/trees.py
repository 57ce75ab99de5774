"""Trees: a tree ensemble, read and checked as Apple's own validator does, and its sum.

The score k of a row is `basePredictionValue[k]` plus the values for k of the leaves that the row
reaches, added as doubles. At a branch the feature is compared as a double; a missing value (NaN)
goes the way that the branch names. A post-evaluation transform other than none is refused: our
packages hold raw scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference import FLAVOR
from registry.flavors.coreml_reference.values import sized
from registry.flavors.coreml_reference.wire import Message

LEAF = "LeafNode"
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
    nodes = parameters.messages("nodes")
    n_scores = parameters.integer("numPredictionDimensions")
    base = np.array(parameters.many("basePredictionValue") or [0.0] * min(n_scores, MOST_SCORES))
    if not 1 <= n_scores <= MOST_SCORES or len(base) != n_scores or not nodes:
        cause = f"{len(nodes)} nodes and {len(base)} base values for {n_scores} scores"
        raise UnreadableArtifactError(FLAVOR, cause)
    child = _children(nodes)
    root, depth = _roots(nodes, child)
    feature = np.array([node.integer("branchFeatureIndex") for node in nodes], np.uint64)
    if feature.max() >= n_features:
        cause = f"a branch on feature {feature.max()} of {n_features}"
        raise UnreadableArtifactError(FLAVOR, cause)
    return Trees(
        root=root,
        feature=feature.astype(np.int64),
        value=np.array([node.number("branchFeatureValue") for node in nodes]),
        child=child,
        goes=np.array([_directions(node) for node in nodes]),
        leaf=_leaves(nodes, n_scores),
        base=base,
        depth=depth,
    )


def _directions(node: Message) -> tuple[bool, ...]:
    behavior = node.text("nodeBehavior") or "BranchOnValueLessThanEqual"
    if behavior == LEAF:
        return (False,) * 4
    return (*BRANCHES[behavior], node.is_set("missingValueTracksTrueChild"))


def _is_leaf(node: Message) -> bool:
    return node.text("nodeBehavior") == LEAF


def _place(node: Message) -> str:
    return f"node {node.integer('nodeId')} of tree {node.integer('treeId')}"


def _children(nodes: Sequence[Message]) -> Index:
    """Return the false and the true child of every node: itself at a leaf."""
    number = {(n.integer("treeId"), n.integer("nodeId")): k for k, n in enumerate(nodes)}
    if len(number) != len(nodes):
        raise UnreadableArtifactError(FLAVOR, "two nodes of a tree have one number")
    child = np.empty((len(nodes), 2), np.int64)
    for k, node in enumerate(nodes):
        if _is_leaf(node):
            child[k] = k
            if any(node.has(name) and node.values[name] for name in BRANCH_FIELDS):
                raise UnreadableArtifactError(FLAVOR, f"{_place(node)} is a leaf and a branch")
            continue
        for side, name in enumerate(("falseChildNodeId", "trueChildNodeId")):
            found = number.get((node.integer("treeId"), node.integer(name)))
            if found is None or found == k:
                cause = f"{_place(node)} has no child {node.integer(name)}"
                raise UnreadableArtifactError(FLAVOR, cause)
            child[k, side] = found
    return child


def _roots(nodes: Sequence[Message], child: Index) -> tuple[Index, int]:
    """Return the root of every tree and the depth of the deepest.

    Every other node has exactly one parent and is reached from its root.
    """
    here = np.arange(len(nodes))
    is_branch = (child != here[:, None]).all(axis=1)
    parents = np.bincount(child[is_branch].ravel(), minlength=len(nodes))
    if parents.max() > 1:
        cause = f"{_place(nodes[int(parents.argmax())])} has several parents"
        raise UnreadableArtifactError(FLAVOR, cause)
    root = np.flatnonzero(parents == 0)
    trees = {node.integer("treeId") for node in nodes}
    if len({nodes[k].integer("treeId") for k in root.tolist()}) != len(root) or len(root) != len(
        trees
    ):
        cause = f"{len(root)} nodes without a parent in {len(trees)} trees"
        raise UnreadableArtifactError(FLAVOR, cause)
    level, reached, depth = root, len(root), 0
    while (inner := level[is_branch[level]]).size:
        level = child[inner].ravel()
        reached, depth = reached + len(level), depth + 1
    if reached != len(nodes):
        raise UnreadableArtifactError(FLAVOR, "nodes that no root leads to")
    return root, depth


def _leaves(nodes: Sequence[Message], n_scores: int) -> Floats:
    leaf = np.zeros(sized(len(nodes), n_scores))
    for k, node in enumerate(nodes):
        values = node.messages("evaluationInfo")
        if bool(values) != _is_leaf(node):
            cause = f"{_place(node)} has {len(values)} values"
            raise UnreadableArtifactError(FLAVOR, cause)
        places = [value.integer("evaluationIndex") for value in values]
        if len(set(places)) != len(places) or max(places, default=0) >= n_scores:
            cause = f"{_place(node)} has values for the scores {places[:8]} of {n_scores}"
            raise UnreadableArtifactError(FLAVOR, cause)
        for place, value in zip(places, values, strict=True):
            leaf[k, place] = value.number("evaluationValue")
    return leaf
