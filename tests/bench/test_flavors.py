"""The table of docs/flavors.md is made by a command; its rows are those of the code.

That the packages it names exist is held in `tests/conformance/test_coreml.py`.
"""

import re

import pytest

from bench.flavors import Line, artifact_names, rows_of_page, template_of
from pipelines.architectures import ARCHITECTURES
from pipelines.templates import TEMPLATES


def test_the_page_has_a_row_for_every_artifact_of_every_architecture():
    rows = rows_of_page()
    assert set(rows) == {(a, artifact) for a in ARCHITECTURES for artifact in artifact_names()}


def test_what_does_not_hold_has_a_reason():
    known = re.compile(r"holds|not written: .+|dropped: .+|not measured: .+")
    assert {last for last in rows_of_page().values() if not known.fullmatch(last)} == set()


@pytest.mark.parametrize("architecture", tuple(ARCHITECTURES))
def test_native_holds_and_every_model_has_a_form_that_is_no_library_of_its_own(architecture):
    rows = rows_of_page()
    if rows[architecture, "native.fp32"].startswith("not measured"):
        return
    others = ("onnx.fp32", "torchscript.fp32", "coreml.fp32")
    assert rows[architecture, "native.fp32"] == "holds"
    assert "holds" in {rows[architecture, name] for name in others}


@pytest.mark.parametrize("architecture", tuple(ARCHITECTURES))
def test_an_architecture_is_fitted_for_a_template_that_takes_it(architecture):
    assert architecture in TEMPLATES.get(template_of(architecture)).architectures


def test_a_line_is_a_row_of_the_page():
    line = Line("mlp", "coreml.fp16", 4.1e-4, None, 0.9995, 18_500, "30 rows")
    cells = "| `mlp` | `coreml.fp16` | 4.1e-04 |  | 99.95% | 18.5 | holds |"
    assert line.row() == cells
    absent = Line("ridge", "coreml.int8", None, None, None, None, "not written: too small")
    assert absent.row().endswith("| not written: too small |")
