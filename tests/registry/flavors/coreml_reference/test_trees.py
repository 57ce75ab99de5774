"""Trees: sums of doubles, every way to branch, missing values, and what is no forest."""

import math

import numpy as np
import pytest

from registry.errors import UnevaluatedPackageError, UnreadableArtifactError
from registry.flavors.coreml_reference import columns
from registry.flavors.coreml_reference.models import open_model
from registry.flavors.coreml_reference.trees import BRANCHES
from tests.registry.flavors.coreml_reference.building import array_feature, package

COMPARE = {
    "BranchOnValueLessThanEqual": np.less_equal,
    "BranchOnValueLessThan": np.less,
    "BranchOnValueGreaterThanEqual": np.greater_equal,
    "BranchOnValueGreaterThan": np.greater,
    "BranchOnValueEqual": np.equal,
    "BranchOnValueNotEqual": np.not_equal,
}


def leaf(tree, node, *values):
    scores = [{"evaluationIndex": k, "evaluationValue": v} for k, v in values]
    return {"treeId": tree, "nodeId": node, "nodeBehavior": "LeafNode", "evaluationInfo": scores}


def branch(tree, node, feature, value, true, false, kind="BranchOnValueLessThan", missing=False):
    return {
        "treeId": tree,
        "nodeId": node,
        "nodeBehavior": kind,
        "branchFeatureIndex": feature,
        "branchFeatureValue": value,
        "trueChildNodeId": true,
        "falseChildNodeId": false,
        "missingValueTracksTrueChild": missing,
    }


def ensemble(nodes, n_scores=1, base=(0.5,), n_features=2, transform="NoTransform"):
    given = array_feature("features", "FLOAT32", [n_features])
    made = array_feature("scores", "DOUBLE", [n_scores])
    parameters = {
        "nodes": nodes,
        "numPredictionDimensions": n_scores,
        "basePredictionValue": list(base),
    }
    return {
        "specificationVersion": 1,
        "description": {"input": [given], "output": [made], "predictedFeatureName": "scores"},
        "treeEnsembleRegressor": {
            "treeEnsemble": parameters,
            "postEvaluationTransform": transform,
        },
    }


def opened(*nodes, **facts):
    return open_model(package(ensemble(nodes, **facts)))


def stump(tree=0, true=1.0, false=-1.0, **facts):
    given = {"feature": 0, "value": 1.5, "true": 1, "false": 2, **facts}
    return [branch(tree, 0, **given), leaf(tree, 1, (0, true)), leaf(tree, 2, (0, false))]


def test_every_way_to_branch_is_covered():
    assert set(COMPARE) == set(BRANCHES)


@pytest.mark.parametrize("kind", COMPARE)
@pytest.mark.parametrize("missing", [False, True])
def test_a_branch_compares_as_its_name_says_and_sends_missing_values_its_way(kind, missing):
    rows = np.array([[1.0, 0], [1.5, 0], [2.0, 0], [np.nan, 0], [np.inf, 0]], np.float32)
    found = opened(*stump(kind=kind, missing=missing))(rows)[:, 0]
    goes = COMPARE[kind](rows[:, 0], 1.5)
    goes[3] = missing
    np.testing.assert_array_equal(found, 0.5 + np.where(goes, 1.0, -1.0))


def test_trees_are_added_as_doubles_and_rounded_once():
    large = [leaf(k, 0, (0, v)) for k, v in enumerate([1e8, 1.0, -1e8, 2.0**-30])]
    found = opened(*large, base=[0.0])(np.zeros((1, 2), np.float32))
    assert found[0, 0] == np.float32(1 + 2.0**-30)


def test_scores_and_trees_of_any_number_and_nodes_in_any_order():
    nodes = [
        leaf(9, 4, (1, 2.0)),
        branch(9, 7, 1, 0.0, 4, 5),
        leaf(9, 5, (0, 3.0), (2, -1.0)),
        leaf(3, 0, (2, 10.0)),
    ]
    model = opened(*nodes, n_scores=3, base=[1.0, 2.0, 3.0])
    found = model(np.array([[0, -1], [0, 1]], np.float32))
    np.testing.assert_array_equal(found, [[1, 4, 13], [4, 2, 12]])
    assert model.operations == {"LeafNode": 3, "BranchOnValueLessThan": 1}


def test_a_sum_beyond_float32_is_infinite_and_reported_so():
    assert np.isinf(opened(leaf(0, 0, (0, 1e300)))(np.zeros((1, 2), np.float32))).all()


def test_absent_base_values_are_zero():
    assert opened(*stump(), base=[])(np.zeros((1, 2), np.float32))[0, 0] == 1


def forest(n_trees, depth, n_features):
    rng = np.random.default_rng(0)
    nodes = []
    for tree in range(n_trees):
        for node in range(2**depth - 1):
            feature, value = int(rng.integers(n_features)), float(rng.normal())
            nodes.append(branch(tree, node, feature, value, 2 * node + 1, 2 * node + 2))
        nodes += [leaf(tree, 2**depth - 1 + k, (0, float(rng.normal()))) for k in range(2**depth)]
    return nodes


def walked(nodes, row):
    """One row down every tree, node by node."""
    by_number = {(n["treeId"], n["nodeId"]): n for n in nodes}
    total = 0.5
    for tree in sorted({n["treeId"] for n in nodes}):
        node = by_number[tree, 0]
        while node["nodeBehavior"] != "LeafNode":
            goes = row[node["branchFeatureIndex"]] < node["branchFeatureValue"]
            node = by_number[tree, node["trueChildNodeId" if goes else "falseChildNodeId"]]
        total += node["evaluationInfo"][0]["evaluationValue"]
    return total


def test_many_trees_over_many_rows_equal_a_walk_node_by_node():
    nodes = forest(12, 4, 5)
    rows = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    found = opened(*nodes, n_features=5)(rows)[:, 0]
    expected = [walked(nodes, row) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


BROKEN = [
    ([branch(0, 0, 0, 1.0, 1, 1), leaf(0, 1, (0, 1.0))], "node 1 of tree 0 has several parents"),
    ([*stump(), leaf(0, 2, (0, 1.0))], "two nodes of a tree have one number"),
    ([*stump(), leaf(0, 3, (0, 1.0))], "2 nodes without a parent in 1 trees"),
    ([branch(0, 0, 0, 1.0, 1, 2), leaf(0, 1, (0, 1.0))], "node 0 of tree 0 has no child 2"),
    ([branch(0, 0, 0, 1.0, 0, 1), leaf(0, 1, (0, 1.0))], "node 0 of tree 0 has no child 0"),
    (
        [
            *stump(),
            branch(0, 3, 0, 1.0, 4, 5),
            branch(0, 4, 0, 1.0, 3, 6),
            leaf(0, 5, (0, 1.0)),
            leaf(0, 6, (0, 1.0)),
        ],
        "nodes that no root leads to",
    ),
    (stump(feature=2), "a branch on feature 2 of 2"),
    (stump(feature=2**63), "a branch on feature 9223372036854775808 of 2"),
    ([leaf(0, 0)], "node 0 of tree 0 has 0 values"),
    ([leaf(0, 0, (0, 1.0), (0, 2.0))], "two values for one score"),
    ([leaf(0, 0, (1, 1.0))], "a value for score 1 of 1"),
    ([{**leaf(0, 0, (0, 1.0)), "branchFeatureValue": 1.0}], "is a leaf and a branch"),
    ([], "0 nodes"),
]


@pytest.mark.parametrize(("nodes", "cause"), BROKEN, ids=lambda v: str(v)[:20])
def test_nodes_that_are_no_forest_are_refused(nodes, cause):
    with pytest.raises(UnreadableArtifactError, match=cause):
        opened(*nodes)


def test_huge_numbers_of_scores_are_refused_before_anything_is_made():
    body = ensemble(stump(), base=[])
    body["treeEnsembleRegressor"]["treeEnsemble"]["numPredictionDimensions"] = 2**63
    with pytest.raises(UnreadableArtifactError, match="base values for 9223372036854775808 scores"):
        open_model(package(body))


def test_a_node_of_very_many_fields_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(columns, "MOST_FIELDS", 100)
    with pytest.raises(UnreadableArtifactError, match="of more than 100 fields"):
        opened(leaf(0, 0, *[(0, 1.0)] * 200))


def test_base_values_of_another_number_are_refused():
    with pytest.raises(UnreadableArtifactError, match="2 base values for 1 scores"):
        opened(*stump(), base=[0.0, 0.0])


@pytest.mark.parametrize("transform", ["Classification_SoftMax", "Regression_Logistic"])
def test_a_transform_of_the_scores_is_refused(transform):
    with pytest.raises(UnevaluatedPackageError, match=f"post-evaluation transform {transform}"):
        opened(*stump(), transform=transform)


def test_a_description_that_contradicts_the_trees_is_refused():
    body = ensemble(stump())
    body["description"]["output"] = [array_feature("scores", "DOUBLE", [2])]
    with pytest.raises(UnreadableArtifactError, match=r"1 scores of trees, described as \(2\)"):
        open_model(package(body))
    body["description"]["predictedFeatureName"] = "other"
    with pytest.raises(UnreadableArtifactError, match="it predicts 'other' but gives 'scores'"):
        open_model(package(body))


def test_one_score_may_be_described_as_a_number():
    body = ensemble(stump())
    body["description"]["output"] = [{"name": "scores", "type": {"doubleType": {}}}]
    found = open_model(package(body))(np.ones((1, 2), np.float32))
    assert math.isclose(found[0, 0], 1.5)
