"""Names made from a user's names: each once, in features, the reference and drift."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.data.bars import check_bars
from pipelines.data.names import PANEL_KEYS, unique_names
from pipelines.data.tables.table_columns import (
    LAYOUTS,
    Column,
    feature_names,
    fingerprint,
    laid_out,
)
from pipelines.recipes.reference import drift_profile, feature_columns

LETTERS = st.sampled_from(["a", "A", "b", "=", "_", " ", "#", "2", "é", "e\u0301", "missing", "."])
OURS = (
    *("symbol", "timestamp", "row", "__missing", "features", "answer", "request_id", "as_of"),
    *("wasserstein", "statistic", "target", "prediction", "index", "missing", "", "center"),
)
name = st.sampled_from(OURS) | st.lists(LETTERS, max_size=4).map("".join)
column = st.one_of(
    st.builds(Column, name, st.just("number"), has_missing=st.booleans()),
    st.builds(
        Column,
        name,
        st.just("category"),
        st.lists(name, min_size=1, max_size=4, unique=True).map(tuple),
    ),
)
columns = st.lists(column, min_size=1, max_size=6, unique_by=lambda c: c.name)
A_B_C = [Column("a", "category", ("b_c", "b=c")), Column("a=b", "category", ("c",))]


@given(st.lists(name), st.lists(name))
def test_unique_names_keep_their_laws(names, taken):
    found = unique_names(names, taken)
    assert len(set(found)) == len(found) == len(names)
    assert not set(found) & set(taken)
    assert unique_names(found, taken) == found
    for given_name, made in zip(names, found, strict=True):
        if names.count(given_name) == 1 and given_name not in taken:
            assert made == given_name


@pytest.mark.parametrize("layout", LAYOUTS)
@given(columns=columns)
@example(columns=A_B_C)
@example(columns=[Column("x", "number", has_missing=True), Column("x=missing", "number")])
@settings(max_examples=30, deadline=None)
def test_every_feature_has_a_name_of_its_own(layout, columns):
    names = feature_names(columns, layout)
    values = np.zeros((3, len(columns)))
    assert len(set(names)) == len(names) == laid_out(values, columns, layout).shape[1]
    assert not set(names) & set(PANEL_KEYS)


@given(columns=columns)
@example(columns=A_B_C)
@example(columns=[Column("symbol", "number"), Column("timestamp", "number")])
@settings(max_examples=8, deadline=None)
def test_reference_and_drift_watch_each_feature_by_its_name(columns):
    names = feature_names(columns, "dense")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, len(names))).astype(np.float32)
    days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(60)]
    panel = pl.DataFrame(
        {"symbol": [""] * 60, "timestamp": days, **{n: values[:, i] for i, n in enumerate(names)}}
    )
    assert feature_columns(panel) == names
    profile = drift_profile(panel, dict.fromkeys(names, 1.0))
    assert tuple(profile.thresholds) == names
    logged = pl.DataFrame({"symbol": [""], "as_of": days[:1], "features": values[:1].tolist()})
    window = logged.select(
        "symbol",
        pl.col("as_of").alias("timestamp"),
        *(pl.col("features").list.get(i).alias(n) for i, n in enumerate(names)),
    )
    assert window.columns == [*PANEL_KEYS, *names]


def test_names_that_were_unique_and_their_fingerprints_stay_as_they_were():
    old = [Column("age", "number", has_missing=True), Column("city", "category", ("Rome", "Oslo"))]
    assert feature_names(old, "dense") == ("age", "age=missing", "city=Rome", "city=Oslo")
    assert feature_names(A_B_C, "dense") == ("a=b_c", "a=b=c", "a=b=c #2")
    assert fingerprint(old, "dense").startswith("8f1224ed881e4b71")


@pytest.mark.parametrize("called", ["timestamp", "row", "close", "symbol"])
def test_a_symbol_may_be_called_like_a_column_of_ours(called):
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, (600, 3)), axis=0))
    days = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(600)]
    parts = [
        pl.DataFrame({"symbol": [symbol] * 600, "timestamp": days, "close": closes[:, i]})
        for i, symbol in enumerate((called, "MSFT", "AAPL"))
    ]
    frame, _ = check_bars(pl.concat(parts), policy="strict", where="test")
    assert frame["symbol"].n_unique() == 3
