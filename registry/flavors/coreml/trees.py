"""Trees of XGBoost, LightGBM and CatBoost as a Core ML TreeEnsemble.

Written from the arrays of `registry.flavors.trees`, not by coremltools' converters, which forget
the estimated intercept of XGBoost 3. A Core ML tree compares doubles, and every threshold here is
a float32, so each float32 feature takes the branch that its library takes. The model takes one
row: an application predicts a batch with Core ML's own batch call.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from registry.errors import UnsupportedModelError
from registry.flavors.coreml.packages import Package
from registry.flavors.graphs import INPUT, OUTPUT
from registry.flavors.trees import EQUAL, GREATER, LESS, LESS_EQUAL, TreeEnsemble

MAX_NODES = 1_000_000
"""Most nodes of a package, about 60 bytes each."""
_MODES = {
    LESS: "BranchOnValueLessThan",
    LESS_EQUAL: "BranchOnValueLessThanEqual",
    GREATER: "BranchOnValueGreaterThan",
    EQUAL: "BranchOnValueEqual",
}


def write_trees(trees: TreeEnsemble, specification_version: int) -> Package:
    """Return the package of an ensemble.

    Raises:
        UnsupportedModelError: more than `MAX_NODES` nodes once every node has a parent of its own.
    """
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model(specificationVersion=specification_version)
    _add_tensor(model.description.input.add(), INPUT, trees.n_features)
    _add_tensor(model.description.output.add(), OUTPUT, len(trees.base))
    model.description.predictedFeatureName = OUTPUT
    ensemble = model.treeEnsembleRegressor.treeEnsemble
    ensemble.numPredictionDimensions = len(trees.base)
    ensemble.basePredictionValue.extend(trees.base.tolist())
    nodes = _Nodes(trees, ensemble)
    for start in np.flatnonzero(trees.node == 0):
        nodes.add_tree(int(start))
    return Package(model)


class _Nodes:
    """Copies trees node by node.

    More than one node of a chain of categories leads to the same child, but a Core ML node has one
    parent: what lies below a shared child is written once for each of its parents.
    """

    def __init__(self, trees: TreeEnsemble, ensemble: Any) -> None:
        self._nodes, self._kind = ensemble.nodes, ensemble.TreeNode
        self._tree, self._is_leaf = trees.tree.tolist(), trees.is_leaf.tolist()
        self._left, self._right = trees.left.tolist(), trees.right.tolist()
        self._feature, self._value = trees.feature.tolist(), trees.value.tolist()
        self._nan_left = trees.nan_left.tolist()
        self._modes = [self._kind.TreeNodeBehavior.Value(_MODES[m]) for m in trees.mode.tolist()]
        self._leaf = trees.leaf

    def add_tree(self, start: int) -> None:
        """Add the tree whose root is entry `start`, each node before those below it."""
        waiting, n_nodes = [(start, 0)], 1
        while waiting:
            at, number = waiting.pop()
            if self._is_leaf[at]:
                behaviour, sums = self._kind.LeafNode, self._sum(at)
                self._add(at, number, nodeBehavior=behaviour, evaluationInfo=sums)
                continue
            left, right = n_nodes, n_nodes + 1
            n_nodes += 2
            self._add(
                at,
                number,
                nodeBehavior=self._modes[at],
                branchFeatureIndex=self._feature[at],
                branchFeatureValue=self._value[at],
                trueChildNodeId=left,
                falseChildNodeId=right,
                missingValueTracksTrueChild=self._nan_left[at],
            )
            waiting += [(start + self._right[at], right), (start + self._left[at], left)]

    def _add(self, at: int, number: int, **facts: Any) -> None:
        if len(self._nodes) == MAX_NODES:
            reason = f"it has more than {MAX_NODES:,} nodes once shared branches are written out"
            raise UnsupportedModelError("coreml", "TreeEnsemble", reason)
        self._nodes.add(treeId=self._tree[at], nodeId=number, **facts)

    def _sum(self, at: int) -> Iterator[Any]:
        """Yield what a leaf adds; Core ML refuses a leaf that adds nothing."""
        columns = np.flatnonzero(~np.isnan(self._leaf[at]))
        for column in columns if len(columns) else [0]:
            value = float(np.nan_to_num(self._leaf[at, column]))
            yield self._kind.EvaluationInfo(evaluationIndex=int(column), evaluationValue=value)


def _add_tensor(feature: Any, name: str, size: int) -> None:
    from coremltools.proto.FeatureTypes_pb2 import ArrayFeatureType

    feature.name = name
    feature.type.multiArrayType.shape.append(size)
    feature.type.multiArrayType.dataType = ArrayFeatureType.FLOAT32
