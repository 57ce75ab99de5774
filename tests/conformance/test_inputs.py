"""What every kind of input guarantees, whatever its rows are made of; runs on each of the catalog.

The data are as small as they can be, and nothing is fitted but by a kind that needs a fit to show
that it is causal.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.architectures import ARCHITECTURES
from pipelines.data.bars import from_microseconds
from pipelines.data.sources.store import BarStore
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.checks import data_checks
from pipelines.recipes.dataset import read_dataset
from pipelines.recipes.inputs import INPUT_KINDS, Dataset, InputKind, kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES
from registry.contract import DataSpan
from serving.forms import FORMS
from tests.conformance.small_data import SMALL_DATA
from tests.examples import make_contract

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"
SMALL = {"width": 256, "window": 250, "paths": 200, "nthread": 1}


@dataclass(frozen=True, slots=True)
class Case:
    """A kind with what a stage makes of it for the first template that reads it."""

    kind: InputKind
    source: SourceParameters
    wanted: RecipeParameters
    settings: SimpleNamespace
    recipe: Recipe
    dataset: Dataset

    @property
    def rows(self):
        return self.dataset.rows

    @property
    def layout(self):
        return self.kind.describe(self.recipe, self.dataset.data, self.dataset.label_spec)

    @property
    def contract(self):
        """As `train` writes it, where a kind reads it."""
        data, layout = self.dataset.data, self.layout
        first, last = data.span()
        given = {f.name: getattr(self.source, f.name) for f in fields(self.source)}
        return make_contract(
            template=self.recipe.template.name,
            feature_set=layout.feature_set,
            feature_names=layout.feature_names,
            feature_fingerprint=layout.fingerprint,
            min_history=layout.min_history,
            window=self.recipe.window,
            interval=data.interval,
            symbols=data.symbols,
            label_spec=self.dataset.label_spec,
            data=DataSpan(
                self.source.source,
                data.digest(),
                first.isoformat(),
                last.isoformat(),
                len(data.frame),
                parameters=given,
            ),
        )

    def rows_of(self, data, **how):
        return self.kind.rows(self.recipe, data, self.dataset.label_spec, **how)


@pytest.fixture(scope="module", params=list(INPUT_KINDS))
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    template = next(n for n in TEMPLATES if TEMPLATES.get(n).inputs == request.param)
    architecture = ARCHITECTURES.get(TEMPLATES.get(template).architectures[0])
    known = architecture.parameters(TEMPLATES.get(template).objective({}))
    source, options = SMALL_DATA[request.param](folder, False)
    options |= {n: v for n, v in SMALL.items() if n in TEMPLATES.get(template).options}
    wanted = RecipeParameters(
        template=template,
        first_test="2002-07-01" if source.source == "synthetic" else "",
        parameters=json.dumps({n: v for n, v in SMALL.items() if n in known}),
        options=json.dumps(options),
    )
    settings = SimpleNamespace(bars_dir=folder / "bars")
    made = read_dataset(source, wanted, settings)
    return Case(INPUT_KINDS.get(request.param), source, wanted, settings, *made)


# Where it stands -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(INPUT_KINDS))
def test_a_kind_has_a_template_a_form_of_request_and_a_line_in_the_docs(name):
    assert INPUT_KINDS.get(name).name == name
    assert name in {TEMPLATES.get(template).inputs for template in TEMPLATES}
    assert name in FORMS
    assert f"\n| `{name}` |" in DOCS.read_text()


def test_the_kind_of_a_template_is_found_by_the_template_and_by_its_name(case):
    template = case.recipe.template
    assert kind_of(template) is kind_of(template.name) is case.kind


# Data ------------------------------------------------------------------------------------------


def test_the_same_files_and_parameters_give_the_same_data_and_rows(case):
    again = case.kind.read(case.source, case.wanted, case.settings)
    assert again.digest() == case.dataset.data.digest()
    rows = case.rows_of(again)
    for name in ("X", "y", "t0", "t1"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(case.rows, name))


def test_what_repeats_a_run_reads_the_data_again(case):
    data, contract = case.dataset.data, case.contract
    if data.interval:  # what serving has received in the meantime
        BarStore(case.settings.bars_dir).append(data.frame, data.interval, data.price_basis)
    _, last = data.span()
    source = SourceParameters(**case.kind.repeated(contract, last))
    again = case.kind.read(source, case.wanted, case.settings)
    assert again.digest() == data.digest()


# Rows ------------------------------------------------------------------------------------------


def test_rows_are_sorted_and_labelled(case):
    rows = case.rows
    assert (np.lexsort((rows.symbol, rows.t0)) == np.arange(len(rows))).all()
    assert np.isfinite(rows.y).all() and np.isfinite(rows.target[rows.fit]).all()
    assert (rows.t1 > rows.t0).all()
    assert rows.symbol.max() < len(rows.symbols)
    assert rows.X.dtype == np.float32 and rows.X.flags.c_contiguous


def test_rows_without_a_label_yet_are_given_on_request_and_fit_nothing(case):
    every = case.rows_of(case.dataset.data, keep_unlabelled=True)
    known = every.t1 >= 0
    np.testing.assert_array_equal(every.X[known], case.rows.X)
    assert np.isnan(every.y[~known]).all()
    assert (every.t1[~known] == -1).all()


def test_rows_depend_on_nothing_after_their_label(case):
    cut = int(np.median(case.rows.t1))
    past = case.rows_of(case.dataset.data.between(None, from_microseconds(cut)))
    whole, part = (rows.take(rows.t1 <= cut) for rows in (case.rows, past))
    assert len(part) > 50
    np.testing.assert_array_equal(whole.t0, part.t0)
    np.testing.assert_allclose(whole.X, part.X, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(whole.y, part.y, rtol=1e-9)


def test_causality_and_feature_parity_are_shown(case):
    rows = case.kind.checks(case.recipe, case.dataset)
    assert [row.gate for row in rows] == ["causality", "feature_parity"]
    assert [row.line() for row in rows if not row.passed] == []


# Facts -----------------------------------------------------------------------------------------


def test_values_are_missing_and_columns_constant_only_where_the_kind_says_so(case):
    assert data_checks(case.dataset, case.kind).passed
    assert case.kind.may_miss or np.isfinite(case.rows.X).all()


def test_rows_have_times_where_bars_have_an_interval(case):
    """Without times there is neither an outcome to join nor a newer bar to refit on."""
    assert case.kind.has_times == bool(case.dataset.data.interval)
    assert case.kind.has_times or not (case.kind.has_outcomes or case.kind.is_refitted_daily)


def test_the_embargo_of_paths_covers_what_a_row_depends_on(case):
    look_back = case.kind.look_back(case.recipe)
    assert look_back is None or look_back >= case.layout.min_history


# Versions --------------------------------------------------------------------------------------


def test_samples_have_the_shape_of_the_contract_and_repeat(case):
    sample = case.kind.sample(case.rows, 16)
    assert sample.shape == (16, *case.contract.inputs.shape[1:])
    assert sample.dtype == np.float32 and sample.flags.c_contiguous
    np.testing.assert_array_equal(sample, case.kind.sample(case.rows, 16))


def test_no_more_columns_are_logged_than_there_are(case):
    assert 0 <= case.kind.n_logged(case.contract) <= len(case.layout.feature_names)


def test_the_files_of_a_version_are_all_that_serving_needs_to_load_it(case):
    files = case.kind.files(case.recipe, case.dataset)
    definition = case.kind.load(case.contract, files.__getitem__)
    assert definition.fingerprint == case.layout.fingerprint
    assert set(definition.context_names) <= set(case.rows.context)


def test_the_columns_that_answers_depend_on_are_columns_of_the_data(case):
    files = case.kind.files(case.recipe, case.dataset)
    definition = case.kind.load(case.contract, files.__getitem__)

    def answer(_features, context):
        return [values.tolist() for values in context.values()]

    template = case.recipe.template
    used = case.kind.used_columns(template, case.contract, definition.features, answer)
    assert used <= set(case.dataset.data.frame.columns)
