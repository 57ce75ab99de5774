import polars as pl

from pipelines.data.sources.marks import note_of, notes_of, synthetic_metadata
from pipelines.data.tables.row_data import read_rows
from pipelines.parameters import SourceParameters


def marked(folder, name="AAA.parquet"):
    path = folder / name
    frame = pl.DataFrame({"x": [float(i) for i in range(300)], "y": [1.0, 2.0, 3.0] * 100})
    frame.write_parquet(path, metadata=synthetic_metadata("synthetic, for a test", {"seed": "3"}))
    return path


def test_metadata_mark_a_file_whatever_its_name(tmp_path):
    path = marked(tmp_path)
    assert note_of(path) == "synthetic, for a test"
    assert pl.read_parquet_metadata(path)["nautilus_ml_engine.seed"] == "3"


def test_the_word_in_its_name_marks_a_csv_and_nothing_marks_others(tmp_path):
    for name in ("AAA.csv", "AAA.synthetic.csv", "synthetic.csv"):
        (tmp_path / name).write_text("date,close\n2020-01-01,1\n")
    assert note_of(tmp_path / "AAA.csv") == ""
    assert note_of(tmp_path / "AAA.synthetic.csv") == "synthetic"
    assert note_of(tmp_path / "synthetic.csv") == ""


def test_a_note_that_several_files_share_is_said_once(tmp_path):
    paths = [marked(tmp_path, "AAA.parquet"), marked(tmp_path, "BBB.parquet")]
    assert notes_of(paths) == "synthetic, for a test"


def test_a_table_of_a_marked_file_says_so(tmp_path):
    source = SourceParameters(source="files", path=str(marked(tmp_path)))
    assert read_rows(source.query(), "").note.startswith("synthetic, for a test")
