import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.checks import data_checks
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import INPUT_KINDS
from pipelines.recipes.score import score
from registry.errors import InvalidInputError, ParameterError, TableError

N_ROWS = 600


def table_frame(n=N_ROWS, seed=0) -> pl.DataFrame:
    """Rows in which age (with gaps), city and a date matter, and noise does not."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n).astype(float)
    city = rng.choice(["Rome", "Oslo", "Paris"], n)
    noise = rng.normal(size=n)
    score = 0.08 * (age - 50) + 1.5 * (city == "Rome") + 0.3 * rng.normal(size=n)
    days = np.datetime64("2015-01-01") + (np.arange(n) // 2).astype("timedelta64[D]")
    return pl.DataFrame(
        {
            "day": [str(day) for day in days],
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "city": city,
            "noise": noise,
            "risk": np.where(score + rng.normal(size=n) > 0, "high", "low"),
            "cost": 100 + 20 * score,
        }
    ).with_columns(pl.col("age").fill_nan(None))


SMALL = '{"rounds": 30, "nthread": 1, "min_child_weight": 2}'


def options(**given) -> str:
    return json.dumps(given)


def read(source, architecture="xgboost", **given):
    wanted = RecipeParameters("tabular", architecture, options=options(**given))
    return read_dataset(source, wanted, None)


def scale_of(found):
    return found.dataset.label_spec["scale"]


def test_classes_are_learned_from_earlier_rows_and_pass_the_gate(write, make):
    found = make(
        write(table_frame().drop("cost")),
        template="tabular",
        architecture="xgboost",
        parameters=SMALL,
        options=options(target="risk", time="day"),
    )
    skill, excess, *plausible = found.evaluation.gates
    assert [(g.gate, g.applicable) for g in plausible] == [
        ("plausibility.auc", True),
        ("plausibility.r2", False),
    ]
    assert plausible[0].passed
    assert skill.gate == "quality.skill" and skill.passed
    assert excess.gate == found.recipe.template.excess_gate
    assert excess.value == pytest.approx(found.evaluation.metrics["loss_vs_baseline"])
    assert found.evaluation.metrics["accuracy"] > found.evaluation.metrics["accuracy_prior"] + 0.1
    assert found.dataset.label_spec["classes"] == ["high", "low"]
    assert data_checks(found.dataset, INPUT_KINDS.get("table")).passed


def test_numbers_get_intervals_that_hold_about_what_they_promise(write, make):
    found = make(
        write(table_frame().drop("risk")),
        template="tabular",
        architecture="xgboost",
        parameters=SMALL,
        options=options(target="cost"),
    )
    assert found.evaluation.gates[0].passed
    in_variances = found.evaluation.metrics["loss_vs_baseline"] / scale_of(found) ** 2
    assert found.evaluation.gates[1].value == pytest.approx(in_variances)
    assert found.evaluation.metrics["r2_oos"] > 0.6
    assert 0.8 < found.evaluation.metrics["interval_coverage"] < 0.98
    assert found.dataset.data.note.startswith("the rows have no time")


def test_noise_alone_is_refused_by_the_gate(write, make):
    rng = np.random.default_rng(3)
    noise = pl.DataFrame({"x": rng.normal(size=400), "y": rng.normal(size=400)})
    found = make(
        write(noise),
        template="tabular",
        architecture="xgboost",
        parameters=SMALL,
        options=options(target="y"),
    )
    assert not found.evaluation.gates[0].passed


def test_rows_walk_forward_and_one_time_is_never_split(write):
    _, dataset = read(write(table_frame()), target="risk", time="day", drop="cost")
    rows = dataset.rows
    assert (np.diff(rows.t0) >= 0).all()
    assert set(rows.symbol) == {0, 1}
    for fold in dataset.folds:
        assert rows.t1[fold.train].max() < rows.t0[fold.test].min()
        assert not set(rows.t0[fold.train]) & set(rows.t0[fold.test])


def test_labels_known_later_train_nothing_before_they_are_known(write):
    frame = table_frame().with_columns(
        known=pl.col("day").str.to_date().dt.offset_by("30d").cast(pl.String)
    )
    _, dataset = read(write(frame), target="risk", time="day", label_end="known", drop="cost")
    month_us = 30 * 86_400_000_000
    assert (dataset.rows.t1 - dataset.rows.t0 == month_us).all()
    for fold in dataset.folds:
        gap = dataset.rows.t0[fold.test].min() - dataset.rows.t0[fold.train].max()
        assert gap > month_us


def test_vocabulary_and_medians_come_from_the_rows_before_the_first_test(write):
    frame = table_frame().with_columns(
        city=pl.when(pl.int_range(pl.len()) > 500).then(pl.lit("Lima")).otherwise("city"),
        age=pl.when(pl.int_range(pl.len()) > 500).then(1e6).otherwise("age"),
    )
    recipe, dataset = read(write(frame), target="risk", drop="cost,day")
    columns = {c["name"]: c for c in dataset.label_spec["columns"]}
    assert "Lima" not in columns["city"]["vocabulary"]
    assert columns["age"]["median"] < 100
    assert recipe.horizon_bars == 0


@pytest.mark.parametrize("architecture", ["xgboost", "mlp"])
def test_serving_reads_a_row_as_training_did(write, architecture):
    recipe, dataset = read(write(table_frame()), architecture, target="risk", drop="cost")
    causality, parity = INPUT_KINDS.get("table").checks(recipe, dataset)
    assert (causality.gate, parity.gate) == ("causality", "feature_parity")
    assert causality.value == parity.value == 0


def test_layouts_follow_the_architecture(write):
    source = write(table_frame())
    by_name = {}
    for name in ("xgboost", "mlp"):
        recipe, dataset = read(source, name, target="risk", drop="cost,day")
        by_name[name] = INPUT_KINDS.get("table").describe(recipe, dataset.data, dataset.label_spec)
    assert by_name["xgboost"].feature_set == "indicators"
    assert by_name["mlp"].feature_set == "dense"
    assert "age=missing" in by_name["mlp"].feature_names
    assert by_name["mlp"].fingerprint != by_name["xgboost"].fingerprint


def test_parquet_and_csv_of_the_same_rows_give_the_same_features(write):
    frame = table_frame()
    _, one = read(write(frame), target="risk", drop="cost,day")
    _, two = read(write(frame, "table.parquet"), target="risk", drop="cost,day")
    np.testing.assert_array_equal(one.rows.X, two.rows.X)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "target='': expected a column"),
        ({"target": "nothing"}, "target='nothing': expected a column"),
        ({"target": "risk", "drop": "x"}, "options='x': expected a column"),
        ({"target": "risk", "time": "x"}, "time='x': expected one of the columns"),
        ({"target": "risk", "colour": "red"}, "colour"),
        ({"target": "risk", "task": "guess"}, "task='guess'"),
    ],
)
def test_options_that_fit_nothing_are_refused_by_name(write, given, problem):
    with pytest.raises(ParameterError, match=problem):
        read(write(table_frame()), **given)


def broken(frame=None, **columns):
    return (table_frame() if frame is None else frame).with_columns(**columns)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (broken(risk=pl.lit("low")), "'risk' is 'low' in every row"),
        (broken(noise=pl.lit(None)), "'noise' has no value"),
        (broken(noise=pl.lit(7)), "'noise' is .* in every row"),
        (broken(copy=pl.col("risk")), "'copy' equals the target 'risk'"),
        (
            broken(code=pl.when(pl.col("risk") == "low").then(7.0).otherwise(3.0)),
            "'code' is a one-to-one function of the target",
        ),
        (
            broken(risk=pl.when(pl.int_range(pl.len()) < 4).then(pl.lit("rare")).otherwise("risk")),
            "class 'rare' of target 'risk' has 4 rows",
        ),
        (
            broken(
                risk=pl.when(pl.int_range(pl.len()) > 500).then(pl.lit("new")).otherwise("risk")
            ),
            "'new', not one of the classes before the first test",
        ),
        (table_frame(40), "there are 40 rows; at least 60"),
        (
            broken(name=pl.int_range(pl.len()).cast(pl.String) + "x"),
            "'name' has .* like a row's name",
        ),
    ],
)
def test_a_table_that_no_model_should_see_is_refused_in_one_line(write, frame, problem):
    with pytest.raises(TableError, match=problem) as caught:
        read(write(frame), target="risk", drop="cost,day")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [lambda y: y, lambda y: 3 - 2 * y, np.exp])
def test_a_feature_that_is_a_function_of_a_number_leaks(write, function):
    frame = table_frame().with_columns(copy=pl.Series(function(table_frame()["cost"] / 100)))
    with pytest.raises(TableError, match="'copy' .* the target 'cost'"):
        read(write(frame), target="cost", drop="risk,day")


def test_an_architecture_for_classes_refuses_a_number(write):
    class ForClasses:
        name = "for_classes"
        objectives = ("softmax",)

    recipe, dataset = read(write(table_frame()), target="cost", drop="risk,day")
    other = type(recipe)(**{**_fields(recipe), "architecture": ForClasses()})
    with pytest.raises(ParameterError, match="one for regression"):
        INPUT_KINDS.get("table").rows(other, dataset.data, dataset.label_spec)


def _fields(recipe):
    return {name: getattr(recipe, name) for name in type(recipe).__dataclass_fields__}


@pytest.mark.parametrize(
    "source",
    [
        SourceParameters(source="sample"),
        SourceParameters(source="files"),
        SourceParameters(source="files", path="nowhere.csv"),
        SourceParameters(source="files", path="nowhere.csv", symbols="AAPL"),
    ],
)
def test_sources_that_hold_no_table_are_refused(source):
    with pytest.raises(InvalidInputError):
        read(source, target="risk")


def test_two_versions_of_a_number_are_compared_in_the_units_of_one(write, make, monkeypatch):
    """The mean of each is its whole model here, so that the loss can be said by hand."""
    given = {"template": "tabular", "architecture": "ridge", "options": options(target="cost")}
    frame = table_frame().drop("risk")
    old = make(write(frame, "old.csv"), **given)
    wider = frame.with_columns(pl.col("cost") * 3)
    new = make(write(wider, "new.csv"), **given)
    window = new.dataset.rows.take(np.arange(len(new.dataset.rows)) >= 500)
    version = SimpleNamespace(
        contract=SimpleNamespace(template="tabular", label_spec=old.dataset.label_spec),
        decoder=old.decoder,
        read_artifact=lambda _: {},
    )
    zeros = SimpleNamespace(load=lambda *_: lambda X: np.zeros((len(X), 1), np.float32))
    monkeypatch.setattr("pipelines.recipes.score.BACKENDS", SimpleNamespace(get=lambda _: zeros))
    monkeypatch.setattr("pipelines.recipes.score.Recipe.of_contract", lambda _: old.recipe)
    found = score(version, new.dataset.data, window)
    center, scale = old.dataset.label_spec["center"], new.dataset.label_spec["scale"]
    np.testing.assert_allclose(found, ((window.y - center) / scale) ** 2, rtol=1e-6)


def test_a_column_that_was_known_too_late_is_named_by_the_gate(write):
    table = table_frame().drop("cost")
    noise = 0.4 * np.random.default_rng(5).standard_normal(len(table))
    late = (table["risk"] == "high").cast(pl.Float64).to_numpy() + noise
    _, dataset = read(write(table.with_columns(fine=late)), target="risk", time="day")
    kind = INPUT_KINDS.get("table")
    (row,) = kind.plausible_data(dataset)
    assert (row.gate, row.value, row.passed) == ("plausibility.columns", 1.0, False)
    assert row.note.startswith(
        "column 'fine' tells a class with an area under the ROC curve of 0.9"
    )
    _, dataset = read(write(table), target="risk", time="day")
    (row,) = kind.plausible_data(dataset)
    assert (row.value, row.passed) == (0.0, True)
