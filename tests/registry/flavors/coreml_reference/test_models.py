"""Models: the description of a package and its program say the same, and the tool shows both."""

import numpy as np
import pytest

from registry.errors import (
    MLEngineError,
    ShapeError,
    UnevaluatedPackageError,
    UnreadableArtifactError,
)
from registry.flavors.coreml_reference.__main__ import main
from registry.flavors.coreml_reference.models import open_model
from tests.registry.flavors.coreml_reference.building import (
    PREFIX,
    array_feature,
    call,
    model,
    package,
    program,
    stored,
    weight_file,
)

ROWS = np.float32([[1, 2], [3, -4], [5, 6]])
WEIGHT = np.float32([[1, 10], [2, 20], [0, 1]])


def linear(**facts):
    """A linear layer with its weight in a weight file."""
    weight = stored("FLOAT32", (3, 2), 64)
    made = {"scores": ("FLOAT32", (None, 3))}
    return model(program([call("linear", made, x="@features", weight=weight)]), **facts)


WEIGHTS = weight_file((2, WEIGHT.tobytes(), 0))
PACKAGE = package(linear(), WEIGHTS)


def test_a_package_gives_scores():
    opened = open_model(PACKAGE)
    np.testing.assert_array_equal(opened(ROWS), ROWS @ WEIGHT.T)
    assert (opened.row_shape, opened.output_shape) == ((2,), (None, 3))
    assert (opened.rows.low, opened.rows.high) == (1, 4096)
    assert opened.operations == {"linear": 1}


def test_missing_and_infinite_numbers_come_out_as_they_are():
    rows = np.float32([[np.nan, 1], [np.inf, 1], [3e38, 3e38]])
    found = open_model(PACKAGE)(rows)
    assert np.isnan(found[0]).all()
    assert np.isinf(found[1, :2]).all()
    assert np.isinf(found[2, 0])


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:0],
        ROWS[:, :1],
        ROWS[0],
        ROWS.astype(np.float64),
        np.zeros((4097, 2), np.float32),
        ROWS[0, 0],
    ],
    ids=lambda rows: str(rows.shape),
)
def test_rows_of_another_shape_or_type_are_refused(rows):
    with pytest.raises(ShapeError, match=r"features: expected float32 of shape \(1 to 4096, 2\)"):
        open_model(PACKAGE)(np.asarray(rows))


def changed(**changes):
    return {**linear(), **changes}


def described(side, *features):
    body = linear()
    body["description"][side] = list(features)
    return body


GIVEN = array_feature("features", "FLOAT32", [1, 2], 4096)
CONTRADICTIONS = [
    (described("input"), UnevaluatedPackageError, r"0 inputs \(\[\]\) instead of one"),
    (described("input", GIVEN, GIVEN), UnevaluatedPackageError, "2 inputs"),
    (
        described("input", array_feature("other", "FLOAT32", [1, 2], 4096)),
        UnreadableArtifactError,
        "'other' is FLOAT32 in the description",
    ),
    (
        described("input", array_feature("features", "DOUBLE", [1, 2], 4096)),
        UnreadableArtifactError,
        "is DOUBLE in the description",
    ),
    (
        described("input", array_feature("features", "FLOAT32", [1, 3], 4096)),
        UnreadableArtifactError,
        r"has shape \(1 to 4096, 3\)",
    ),
    (
        described("input", array_feature("features", "FLOAT32", [1, 2, 1], 4096)),
        UnreadableArtifactError,
        "has shape",
    ),
    (
        described("input", array_feature("features", "FLOAT32", [])),
        UnreadableArtifactError,
        "described without a shape",
    ),
    (
        described("output", array_feature("other", "FLOAT32")),
        UnreadableArtifactError,
        "'other' is FLOAT32",
    ),
    (
        described("output", array_feature("scores", "FLOAT32", [1, 4])),
        UnreadableArtifactError,
        "'scores' has shape",
    ),
    (
        described("output", {"name": "scores", "type": {}}),
        UnreadableArtifactError,
        "FeatureType has no Type",
    ),
    (
        changed(specificationVersion=10),
        UnevaluatedPackageError,
        "version 10 of the model specification",
    ),
    (changed(specificationVersion=7), UnreadableArtifactError, "CoreML7 in version 7"),
    ({"specificationVersion": 8, "description": {}}, UnreadableArtifactError, "Model has no Type"),
    ({}, UnevaluatedPackageError, "version 0 of the model specification"),
]


@pytest.mark.parametrize(("body", "error", "cause"), CONTRADICTIONS, ids=range(len(CONTRADICTIONS)))
def test_a_description_that_contradicts_the_program_is_refused(body, error, cause):
    with pytest.raises(error, match=cause) as caught:
        open_model(package(body, WEIGHTS))
    assert "\n" not in str(caught.value)


def test_another_models_weights_are_refused():
    for other in (
        weight_file((2, WEIGHT[:2].tobytes(), 0)),
        weight_file((2, WEIGHT.tobytes(), 0), (2, b"", 0)),
    ):
        with pytest.raises(UnreadableArtifactError, match="weight.bin'"):
            open_model(package(linear(), other))


def test_weights_beside_a_program_without_any_are_refused():
    body = model(program([call("relu", {"scores": ("FLOAT32", (None, 2))}, x="@features")]))
    assert open_model(package(body))(ROWS).min() == 0
    with pytest.raises(UnreadableArtifactError, match="does not use the array at byte 64"):
        open_model(package(body, WEIGHTS))


@pytest.fixture
def folder(tmp_path):
    for name, content in PACKAGE.items():
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_bytes(content)
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path


def test_the_tool_prints_shape_and_first_scores(folder, capsys):
    main([str(folder / "m"), str(folder / "rows.npy")])
    assert capsys.readouterr().out.splitlines() == [
        "scores of shape (3, 3)",
        "21 42 2",
        "-37 -74 -4",
        "65 130 6",
    ]


def test_the_tool_writes_every_score_to_a_file(folder, capsys):
    np.save(folder / "rows.npy", np.resize(ROWS.astype(np.float64), (1500, 2)))
    main([str(folder / "m"), str(folder / "rows.npy"), "--out", str(folder / "scores.npy")])
    assert capsys.readouterr().out == ""
    found = np.load(folder / "scores.npy")
    np.testing.assert_array_equal(found, np.resize(ROWS, (1500, 2)) @ WEIGHT.T)


def test_the_tool_lists_operations_also_without_rows(folder, capsys):
    main([str(folder / "m"), "--ops"])
    assert capsys.readouterr().out.splitlines() == [
        "input features FLOAT32 (1 to 4096, 2)",
        "output scores FLOAT32 (rows, 3)",
        "       1 linear",
    ]


def test_the_tool_counts_scores_that_are_not_finite(folder, capsys):
    np.save(folder / "rows.npy", np.float32([[np.nan, 0], [1, 1]]))
    main([str(folder / "m"), str(folder / "rows.npy")])
    assert capsys.readouterr().out.splitlines()[-1] == "3 scores are not finite"


def npy(header):
    """A .npy file with a header of its own and a hundred bytes of numbers."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 100


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': SHAPE, }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"\x93NUMPY\x01\x00\xff\xff{",
        npy(PLAIN.replace("SHAPE", "(10000000000000, 5)")),
        npy(PLAIN.replace("SHAPE", "(99999999999999999999999, 5)")),
        npy(PLAIN.replace("SHAPE", "(-5, 5)")),
        npy("{'descr': [[["),
    ],
    ids=range(7),
)
def test_the_tool_refuses_rows_that_are_no_array(folder, content):
    (folder / "rows.npy").write_bytes(content)
    with pytest.raises(MLEngineError, match="cannot be read as .npy") as caught:
        main([str(folder / "m"), str(folder / "rows.npy")])
    assert "\n" not in str(caught.value)


def test_the_tool_refuses_pickles_texts_and_no_rows(folder):
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "texts.npy", np.array(["a"]))
    np.save(folder / "none.npy", ROWS[:0])
    for name in ("objects", "texts", "none", "missing"):
        with pytest.raises(MLEngineError):
            main([str(folder / "m"), str(folder / f"{name}.npy")])


def damaged(seed):
    """The members with one of them cut or a few of its bits changed."""
    rng = np.random.default_rng(seed)
    name = rng.choice([f"{PREFIX}/model.mlmodel"] * 3 + list(PACKAGE))
    content = bytearray(PACKAGE[name])
    if rng.random() < 0.2:
        del content[int(rng.integers(len(content))) :]
    else:
        for at in rng.integers(len(content), size=rng.integers(1, 4)):
            content[at] ^= 1 << int(rng.integers(8))
    return {**PACKAGE, str(name): bytes(content)}


def test_damage_gives_numbers_or_one_clear_line():
    refused = 0
    for seed in range(500):
        try:
            assert open_model(damaged(seed))(ROWS).dtype == np.float32
        except MLEngineError as exc:
            assert "\n" not in str(exc)
            refused += 1
    assert refused > 300
