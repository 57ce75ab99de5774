"""Parity: what an artifact's scores are compared on, and the rows that say it."""

import numpy as np
import pytest

from pipelines.recipes.parity import (
    MOST_SCORES,
    FittedScores,
    Parity,
    extreme_rows,
    fitted_scores,
    parity_of,
    within,
)
from registry.flavors import Artifact, NativeModel
from registry.flavors.arrays import save_arrays
from registry.flavors.arrays.forest import Forest
from registry.flavors.native import NATIVE
from registry.flavors.trees.thresholds import split_points

ONNX, HALF = Artifact("onnx"), Artifact("coreml", "fp16")
REFERENCE = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
NO_SPLITS = np.empty(0, np.int64), np.empty(0, np.float32)


def native(rows):
    return np.asarray(rows[:, :2] * np.float32(3), np.float32)


def off(error):
    return lambda rows: native(rows) + np.float32(error)


def parity(**changes):
    extremes = extreme_rows(REFERENCE, NO_SPLITS, may_miss=False)
    return Parity(**{"native": native, "reference": REFERENCE, "extremes": extremes} | changes)


def test_an_artifact_within_its_limit_passes_and_one_beyond_does_not():
    compared = parity(is_network=False)
    assert all(row.passed for row in compared.compare(ONNX, native, "cpu"))
    assert [r.passed for r in compared.compare(ONNX, off(5e-5), "cpu")] == [False, False]
    assert [r.passed for r in compared.compare(HALF, off(1e-3), "cpu")] == [True, True]
    assert [r.passed for r in compared.compare(HALF, off(3e-3), "cpu")] == [False, False]


def test_a_network_may_be_further_off_on_extreme_rows_alone():
    reference, extremes = parity(is_network=True).compare(ONNX, off(5e-5), "cpu")
    assert (reference.passed, extremes.passed) == (False, True)
    assert (reference.gate, extremes.gate) == ("parity.onnx.fp32", "parity.onnx.fp32.extremes")


class Fitted:
    """An estimator whose native model is `native`."""

    n_scores = 2

    def predict(self, X):
        return native(X)


def fitted(reference=REFERENCE, n_scores=2):
    estimator = Fitted()
    estimator.n_scores = n_scores
    return fitted_scores(
        estimator, NativeModel("arrays", save_arrays(stump(0.0)).payload), reference
    )


def test_native_is_compared_with_the_estimator_that_it_was_written_from():
    model = NativeModel("arrays", save_arrays(stump(0.0)).payload)
    compared = parity_of(model, off(7), REFERENCE, fitted=fitted())
    assert [r.value for r in compared.compare(NATIVE, native, "cpu")] == [0.0, 0.0]
    rows = compared.compare(NATIVE, off(1e-3), "cpu")  # what agrees with itself is not asked
    assert [(row.gate, row.passed) for row in rows] == [
        ("parity.native.fp32", False),
        ("parity.native.fp32.extremes", False),
    ]
    assert "against the fitted estimator" in rows[0].note


def test_native_is_not_computed_where_the_estimator_was_not_asked():
    (row,) = parity(is_network=False).compare(NATIVE, native, "cpu")
    assert (row.value, row.passed, row.applicable) == (None, False, True)
    assert row.note.endswith("train again")


def test_of_many_scores_some_rows_are_kept_and_read_back():
    few = fitted(n_scores=MOST_SCORES // 100)
    assert (len(few.reference), few.reference.shape[1]) == (100, 2)
    again = FittedScores.from_bytes(few.to_bytes())
    np.testing.assert_array_equal(again.reference, few.reference)
    np.testing.assert_array_equal(again.extremes, few.extremes)
    model = NativeModel("arrays", save_arrays(stump(0.0)).payload)
    compared = parity_of(model, native, REFERENCE, fitted=again)
    assert [r.value for r in compared.compare(NATIVE, native, "cpu")] == [0.0, 0.0]
    assert compared.compare(NATIVE, native, "cpu")[0].note.startswith("100 rows")


@pytest.mark.parametrize("size", [1, 2, 7, 2048])
def test_a_batch_size_that_changes_the_scores_is_found(size):
    def predictor(rows):
        return native(rows) + np.float32(len(rows) == size)

    (row, _) = parity(is_network=False).compare(ONNX, predictor, "cpu")
    assert row.value > 0.1


def test_a_predictor_that_keeps_its_first_batch_size_is_found():
    (row, _) = parity(is_network=False).compare(ONNX, lambda rows: native(rows)[:7], "cpu")
    assert row.value == np.inf


def test_classes_are_compared_row_by_row():
    def predictor(rows):
        scores = native(rows)
        scores[: len(rows) // 100] = scores[: len(rows) // 100, ::-1]
        return scores

    def best(_, scores):
        return np.argmax(scores, axis=1)

    *_, row = parity(is_network=False, label=best).compare(HALF, predictor, "cpu")
    assert (row.gate, row.comparison, row.limit) == ("parity.coreml.fp16.labels", ">=", 0.999)
    assert row.value == pytest.approx(297 / 300)
    assert not row.passed
    assert (
        len(parity(is_network=False, label=best, fitted=fitted()).compare(NATIVE, native, "cpu"))
        == 2
    )


def test_rows_beyond_float16_are_left_out_below_full_precision_and_counted():
    rows = REFERENCE.copy()
    rows[:5, 1] = 65505
    rows[5, 0] = np.nan
    assert len(within(HALF, rows)) == 295
    assert len(within(ONNX, rows)) == 300
    rows[5, 0] = 0
    row, _ = parity(is_network=False, reference=rows).compare(HALF, native, "here")
    assert row.note == "295 rows, 5 beyond float16's range left out, on here against native"
    (row,) = parity(is_network=False, reference=rows[:5]).compare(HALF, native, "here")
    assert not row.passed


def test_scores_that_are_no_numbers_agree_with_nothing():
    def nothing(rows):
        return np.full((len(rows), 2), np.nan, np.float32)

    rows = parity(native=nothing, is_network=False).compare(ONNX, nothing, "cpu")
    assert [row.value for row in rows] == [np.inf, np.inf]


@pytest.mark.parametrize("shape", [(300, 3), (300, 5, 3)])
@pytest.mark.parametrize("may_miss", [False, True])
def test_extremes_hold_ends_denormals_and_missing_values(shape, may_miss):
    reference = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    rows = extreme_rows(reference, NO_SPLITS, may_miss=may_miss)
    assert rows.dtype == np.float32
    assert rows.shape[1:] == shape[1:]
    over = tuple(range(len(shape) - 1))
    for at in range(3):
        column = rows[..., at]
        assert reference.min(axis=over)[at] in column
        assert reference.max(axis=over)[at] in column
    assert (np.abs(rows[rows != 0]) < 1e-40).any()
    assert np.isnan(rows).any() == may_miss
    if may_miss:
        assert np.isnan(rows).reshape(len(rows), -1).all(axis=1).any()


def test_exact_thresholds_and_both_neighbours_are_tried():
    splits = np.array([2, 0]), np.float32([0.25, -1.5])
    rows = extreme_rows(REFERENCE, splits, may_miss=False)
    for feature, value in zip(*splits, strict=True):
        for side in (-np.inf, None, np.inf):
            wanted = value if side is None else np.nextafter(value, np.float32(side))
            assert (rows[:, feature] == wanted).any()


def test_a_leaf_taken_wrongly_at_a_threshold_is_found():
    """The same tree with `<` for `<=`: no real row tells them apart."""
    model = stump(np.float32(0.125))
    payload = save_arrays(model)
    compared = parity_of(payload, model, REFERENCE)

    def wrong(rows):
        return np.where(rows[:, :1] < 0.125, np.float32(-1), np.float32(1))

    reference, extremes = compared.compare(ONNX, wrong, "cpu")
    assert reference.value == 0.0
    assert extremes.value == 2.0


def stump(threshold):
    """x0 <= threshold -> -1, else 1."""
    return Forest(
        n_features=3,
        root=np.array([0]),
        feature=np.array([0, 0, 0]),
        value=np.float32([threshold, 0, 0]),
        left=np.array([1, 1, 2]),
        right=np.array([2, 1, 2]),
        nan_left=np.array([1, 0, 0]),
        leaf=np.float32([[0], [-1], [1]]),
        base=np.float32([0]),
    )


def test_split_points_are_those_of_the_trees():
    features, values = split_points(save_arrays(stump(np.float32(0.125))))
    assert (features.tolist(), values.tolist()) == ([0], [0.125])
    assert [len(part) for part in split_points(NativeModel("torch-export", b""))] == [0, 0]
