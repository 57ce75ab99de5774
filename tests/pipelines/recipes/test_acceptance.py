import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.architectures.hyperparameters import Text
from pipelines.architectures.spaces import OF_STATES, SPACES
from pipelines.data.upload_checks import Contents
from pipelines.data.uploads import Uploads
from pipelines.mlproject import ENTRY_POINTS
from pipelines.parameters import RecipeParameters
from pipelines.recipes.acceptance import DECIDED_HERE, accept, is_path
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.recipe import Recipe
from pipelines.templates import TEMPLATES
from registry.errors import (
    DataMissingError,
    DataNameError,
    DataNotFoundError,
    MLEngineError,
    ParameterError,
    UnknownNameError,
)

TABULAR = {"template": "tabular", "source": "data", "path": "churn", "options": {"target": "y"}}


@pytest.fixture
def uploads(engine, settings) -> Uploads:
    """Uploaded data: a table `churn`, texts `news`, bars `btc`."""
    made = Uploads(engine, settings.uploads_dir, reserve_bytes=0)
    for name, kind in (("churn", "table"), ("news", "texts"), ("btc", "bars")):
        with made.arriving(name, "csv") as arriving:
            arriving.write(b"a,y\n1,2\n")
            made.keep(name, arriving, Contents(kind, "csv", 1, ("a", "y")), "k1")
    return made


@pytest.fixture
def ask(uploads, engine, settings):
    return lambda allowed=(), **given: accept(given, settings, engine, allowed)


def test_what_main_takes_becomes_the_payload_of_a_job(ask):
    given = {"seed": 3, "parameters": {"rounds": 5, "eta": 0.1}, "flavors": "onnx", "window": 0}
    payload = ask(**TABULAR, **given)
    assert payload == {
        "template": "tabular",
        "source": "data",
        "path": "churn",
        "options": '{"target": "y"}',
        "seed": 3,
        "window": 0,
        "parameters": '{"eta": 0.1, "rounds": 5}',
        "flavors": "onnx",
    }
    assert ask(**payload) == payload


def test_nothing_asked_is_the_default_recipe_on_the_sample(ask):
    assert ask() == {}
    assert ask(source="synthetic", symbols="AAA") == {"source": "synthetic", "symbols": "AAA"}


@pytest.mark.parametrize(
    "given",
    [
        {"seed": "3"},
        {"seed": 3.0},
        {"seed": True},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 10**400},
        {"window": None},
        {"horizon": []},
        {"symbols": ["AAPL"]},
        {"template": 3},
        {"parameters": "[1]"},
        {"parameters": "{"},
        {"parameters": "[" * 5000},
        {"parameters": {"eta": "0.1"}},
        {"parameters": {"eta": 7}},
        {"parameters": {"eta": float("nan")}},
        {"parameters": '{"eta": NaN}'},
        {"parameters": {"eta": {"a": 1}}},
        {"parameters": {"no_such": 1}},
        {"options": {"no_such": 1}},
        {"symbols": "A\0B"},
        {"symbols": "A\nB"},
        {"symbols": "\ud800"},
        {"symbols": "--promote=true"},
        {"symbols": "A" * 6001},
        {"start": "yesterday"},
        {"interval": "1 day"},
        {"timezone": "../../etc/passwd"},
        {"timezone": "/etc/localtime"},
        {"policy": "guess"},
        {"columns": "close"},
        {"first_test": "soon"},
        {"paths": "six"},
        {"flavors": "tensorrt"},
        {"compress": "zip"},
        {"recent_bars": 1},
        {"model_name": "../x"},
        {"model_name": "a b"},
    ],
    ids=str,
)
def test_a_value_that_the_stage_would_not_take_is_refused(ask, given):
    with pytest.raises(ParameterError):
        ask(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"template": "no_such"},
        {"architecture": "no_such"},
        {"feature_set": "no_such"},
        {"no_such": 1},
        {"out": "/tmp/x"},
        {"train_run": "1"},
        {"": 1},
        *({name: value} for name, value in (("champion", 1), ("trigger", "x"), ("promote", True))),
    ],
    ids=str,
)
def test_a_name_that_nobody_knows_is_refused_with_the_known_ones(ask, given):
    with pytest.raises(UnknownNameError, match="known: "):
        ask(**given)


def test_a_route_may_allow_what_it_decides(ask):
    assert ask(allowed=("promote",), promote=True) == {"promote": True}
    with pytest.raises(ParameterError, match="true or false"):
        ask(allowed=DECIDED_HERE, promote=1)
    with pytest.raises(UnknownNameError):
        ask(allowed=("promote",), champion=1)


def test_an_architecture_of_another_template_is_refused(ask):
    with pytest.raises(ParameterError, match="architecture"):
        ask(architecture="lexicon")


# Nothing of a caller's is opened ---------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../churn", "https://x/y.csv", "s3://b/k", "*.csv", ".", "", "a b", "a#"],
)
def test_a_path_is_a_name_or_nothing(ask, path):
    with pytest.raises(DataNameError):
        ask(**TABULAR | {"path": path})
    for source in ("sample", "store", "synthetic"):
        if path:
            with pytest.raises(ParameterError, match="has no path"):
                ask(source=source, path=path)


def test_files_of_the_server_are_no_source(ask):
    with pytest.raises(ParameterError, match="one of data .*a name that was uploaded"):
        ask(**TABULAR | {"source": "files"})
    with pytest.raises(ParameterError, match="data, sample, store, synthetic"):
        ask(source="files", path="x.csv")


def test_a_source_must_be_one_that_the_template_reads(ask):
    with pytest.raises(ParameterError, match="source='sample'"):
        ask(template="tabular", options={"target": "y"})
    assert ask(template="sentiment", source="sample")


def test_data_must_be_there_and_of_the_kind_that_the_template_reads(ask, uploads):
    with pytest.raises(DataNotFoundError, match="there are: btc, churn, news"):
        ask(**TABULAR | {"path": "absent"})
    with pytest.raises(ParameterError, match=r"kind table, not texts; upload them with \?kind=tab"):
        ask(**TABULAR | {"path": "news"})
    assert ask(template="sentiment", source="data", path="news")
    assert ask(source="data", path="btc")
    uploads.path_of(uploads.get("churn")).unlink()
    with pytest.raises(DataMissingError, match="upload it again"):
        ask(**TABULAR)


def test_parameters_of_bars_are_refused_for_a_table(ask):
    with pytest.raises(ParameterError, match="for bars only"):
        ask(**TABULAR, symbols="AAPL")


def test_what_a_person_recorded_may_be_opened_again_and_nothing_else(uploads, engine, settings):
    recorded = {"template": "tabular", "source": "files", "path": "/srv/x.csv", "options": "{}"}

    def ask(**changes):
        given = {**recorded, "options": {"target": "y"}, **changes}
        return accept(given, settings, engine, recorded=recorded)

    assert ask(seed=3)["path"] == "/srv/x.csv"
    for changes in ({"path": "/etc/passwd"}, {"source": "store"}, {"path": ""}):
        with pytest.raises(ParameterError, match="one of data"):
            ask(**changes)
    with pytest.raises(ParameterError, match="for bars only"):
        ask(symbols="AAPL")
    assert ask(source="data", path="churn")["path"] == "churn"


def test_a_recorded_architecture_that_opens_a_folder_may_do_so_again(ask, engine, settings):
    recorded = {
        "template": "sentiment",
        "architecture": "pretrained_text",
        "source": "sample",
        "path": "",
        "parameters": '{"directory": "/srv/model"}',
    }
    assert accept(recorded, settings, engine, recorded=recorded) == recorded
    other = recorded | {"parameters": '{"directory": "/root"}'}
    with pytest.raises(ParameterError, match="opens a folder of the server"):
        accept(other, settings, engine, recorded=recorded)


def test_an_architecture_that_opens_a_folder_is_refused(ask):
    folder = {"directory": "/root"}
    with pytest.raises(ParameterError, match="opens a folder of the server"):
        ask(
            template="sentiment", architecture="pretrained_text", source="sample", parameters=folder
        )


# Every parameter that is opened is marked ------------------------------------------------------

PLAIN = {
    *("target", "time", "label_end", "drop", "text", "label"),  # columns
    *("market", "labels"),  # a symbol, names of classes
}
PLAIN_PARAMETERS = {
    *("source", "columns", "symbols", "start", "end", "interval", "timezone", "policy"),
    *("date_order", "jumps", "price_scale", "stubs"),
    *("template", "architecture", "feature_set", "first_test", "parameters", "options"),
    *("model_name", "trigger", "paths", "flavors", "compress"),
    *("actor", "model_id", "train_run", "validate_run", "run_id"),  # ids
    "read_from",  # a source
    *("alias", "keep"),  # of score: an alias of the version, names of columns
    *("study", "space", "metric", "sampler", "pruner"),  # of tune; a study's name has no separator
    "served_columns",  # of tune: names of columns of bars
}


def test_a_text_that_somebody_chooses_is_marked_as_a_path_or_known_as_none():
    spaces = [*SPACES.values(), *OF_STATES.values()]
    spaces += [TEMPLATES.get(name).options for name in TEMPLATES]
    texts = {name: spec for space in spaces for name, spec in space.items() if type(spec) is Text}
    assert {name for name, spec in texts.items() if not is_path(spec)} == PLAIN
    assert {name for name, spec in texts.items() if is_path(spec)} == {"directory"}


def test_a_parameter_of_a_stage_is_marked_as_a_path_or_known_as_none():
    items = {
        f.name: f for m in ENTRY_POINTS.values() for g in import_module(m).GROUPS for f in fields(g)
    }
    marked = {name for name, item in items.items() if item.metadata.get("is_path")}
    assert marked == {"path", "splits", "out", "output", "results"}
    texts = {name for name, item in items.items() if item.type is str}
    assert texts - marked <= PLAIN_PARAMETERS


def test_splits_are_a_list_and_no_file_of_a_callers(ask):
    inline = '[{"symbol": "AAPL", "date": "2014-06-09", "ratio": 7}]'
    assert ask(splits=inline) == {"splits": inline}
    with pytest.raises(ParameterError, match="^splits='/etc/passwd': expected a JSON list"):
        ask(splits="/etc/passwd")
    with pytest.raises(ParameterError, match="^splits="):
        ask(splits='[{"symbol": "AAPL"}]')
    with pytest.raises(ParameterError, match="stubs='drop': expected nothing"):
        ask(**TABULAR, stubs="drop")


@pytest.fixture
def touched(monkeypatch) -> list[str]:
    """The paths that this process looks at or opens from here on."""
    seen: list[str] = []

    def watch(real):
        def call(path, *arguments, **named):
            seen.append(str(path))
            return real(path, *arguments, **named)

        return call

    for name in ("stat", "open", "listdir", "scandir", "lstat"):
        monkeypatch.setattr(os, name, watch(getattr(os, name)))
    monkeypatch.setattr(io, "open", watch(io.open))
    monkeypatch.setattr("builtins.open", watch(open))
    return seen


ROWS = TrainingRows(
    np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32),
    np.arange(40) % 3.0,
    np.ones(40),
)


@pytest.mark.parametrize(
    "name", [n for n, s in SPACES.items() if any(type(x) is Text for x in s.values())]
)
def test_a_parameter_that_is_opened_is_marked(name, touched, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    template = next(t for t in map(TEMPLATES.get, TEMPLATES) if name in t.architectures)
    for parameter, spec in SPACES[name].items():
        if type(spec) is not Text:
            continue
        touched.clear()
        chosen = json.dumps({parameter: str(tmp_path)})
        wanted = RecipeParameters(template=template.name, architecture=name, parameters=chosen)
        try_out(Recipe.resolve(wanted))
        assert any(str(tmp_path) in path for path in touched) == is_path(spec), parameter


def try_out(recipe: Recipe) -> None:
    """Do what looks at an architecture's parameters, until it fails."""
    with suppress(MLEngineError):
        kind_of(recipe.template).check(recipe)
    with suppress(MLEngineError):
        recipe.architecture.fit(ROWS, Objective("softmax", 3), recipe.parameters, 0)


@pytest.mark.parametrize("name", ["tabular", "sentiment", "portfolio_risk"])
def test_no_option_of_a_template_is_opened(name, touched, tmp_path):
    template = TEMPLATES.get(name)
    options = {n: str(tmp_path) for n, spec in template.options.items() if type(spec) is Text}
    recipe = Recipe.resolve(RecipeParameters(template=name, options=json.dumps(options)))
    training = [] if name == "portfolio_risk" else pl.DataFrame({"timestamp": [], "a": []})
    with pytest.raises(MLEngineError):
        template.label_spec(1, training, recipe.options)
    assert not [path for path in touched if str(tmp_path) in path]


def test_every_architecture_declares_its_parameters_without_its_library():
    assert set(SPACES) == set(ARCHITECTURES)


@pytest.mark.integration
def test_accepting_imports_no_model_library():
    script = """
import sys, sqlalchemy
from pipelines.recipes.acceptance import accept
from registry.settings import PlatformSettings
engine = sqlalchemy.create_engine("sqlite://")
for template in ("volatility_forecast", "market_regime", "trading_signals", "portfolio_risk"):
    accept({"template": template, "flavors": "onnx,coreml"}, PlatformSettings(), engine)
accept({"architecture": "mlp", "parameters": {"hidden": 8}}, PlatformSettings(), engine)
heavy = ("torch", "coremltools", "xgboost", "lightgbm", "sklearn", "mlflow", "optuna", "numba")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert done.stdout.strip() == "[]"
