"""Delimited text as people write it: one reader finds the table in it, or names what is wrong."""

import gzip
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.sources.delimited import records_of
from pipelines.data.sources.headers import Header
from pipelines.data.sources.tables import Table, _columns, _regular_columns, read_table
from registry.errors import BarsError

ROWS = [["2024-01-02", "1.5", "x"], ["2024-01-03", "2.5", "y"], ["2024-01-04", "3.5", None]]


@pytest.fixture
def table(tmp_path):
    def read(content: str | bytes, name: str = "t.csv", policy: str = "strict") -> Table:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, policy)

    return read


def lines(*rows: str, end: str = "\n") -> str:
    return "".join(row + end for row in rows)


PLAIN = lines("day,a,b", "2024-01-02,1.5,x", "2024-01-03,2.5,y", "2024-01-04,3.5,")
SAME = {
    "plain": PLAIN,
    "no line end": PLAIN[:-1],
    "CR LF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "UTF-8 with mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16 with mark": PLAIN.encode("utf-16"),
    "UTF-16, other order": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "spaces": PLAIN.replace(",", " , "),
    "quoted": PLAIN.replace("2024-01-02,1.5,x", '"2024-01-02", "1.5", "x"'),
    "separators behind rows": PLAIN.replace("x\n", "x,\n").replace("y\n", "y,,\n"),
    "separators behind all": PLAIN.replace("\n", ",\n"),
    "blank lines": PLAIN.replace("\n", "\n\n,,\n  \n"),
    "an address above": "https://www.CryptoDataDownload.com\n" + PLAIN,
    "a title above": "Prices of ABC, daily\n\n" + PLAIN,
    "comments above": "# made on 2024-02-01\n# from a, b, c\n" + PLAIN,
    "a header that is a comment": "# " + PLAIN,
    "told by Excel": "sep=;\n" + PLAIN.replace(",", ";"),
    "a sentence below": PLAIN + '"Downloaded from Barchart.com as of 01-05-2024 03:32pm CST"\n',
}


@pytest.mark.parametrize("case", SAME)
def test_files_that_say_the_same(table, case):
    found = table(SAME[case])
    assert found.columns == ["day", "a", "b"]
    assert [list(row) for row in found.frame.rows()] == ROWS
    assert found.has_header


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".tsv"])
def test_packed_files_are_unpacked(table, suffix):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/inside.csv", PLAIN)
    assert len(table(packed.getvalue(), f"t{suffix}.zip").frame) == 3
    assert len(table(packed.getvalue(), "t.zip").frame) == 3
    assert len(table(gzip.compress(PLAIN.encode()), f"t{suffix}.gz").frame) == 3


def test_an_archive_of_two_files_is_refused(table):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", PLAIN)
        archive.writestr("b.csv", PLAIN)
    with pytest.raises(BarsError, match=r"t\.zip: the archive holds 2 files; pack one file"):
        table(packed.getvalue(), "t.zip")
    with pytest.raises(BarsError, match="not zip, or cut short"):
        table(packed.getvalue()[:-30], "t.zip")


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x85", "\f", "\x1c", "\u2029", "\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_text_keeps_what_looks_like_a_line_break(table, mark, separator):
    text = f"good{mark}news"
    content = separator.join(("text", "label")) + "\n"
    content += f'"{text}"{separator}positive\nbad news{separator}negative\n'
    found = table(content)
    assert found.frame["text"].to_list() == [text, "bad news"]
    assert found.rows.to_list()[0] == 2


CELLS = st.text(alphabet="ab1.- \u2028\x0b\x85\f#", max_size=4)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_lines_without_quotes_are_read_as_the_reader_of_quoted_ones_reads_them(rows, separator):
    text = separator.join(("x", "y", "z")) + f"\n1{separator}2{separator}3\n"
    text += "".join(f"{separator.join(row)}\n" for row in rows)
    header = Header(("x", "y", "z"), (), 0, 1)
    fast = _regular_columns(text, separator, header, 2)
    records = records_of(text, separator, "t.csv")
    next(records)
    slow = _columns(records, header)
    assert fast is not None
    assert fast[0].equals(slow[0])
    assert fast[1].to_list() == slow[1].to_list()


def test_rows_are_numbered_by_the_line_on_which_they_begin(table):
    found = table('text,label\n"one\ntwo",1\n\nthree,2\n')
    assert found.rows.to_list() == [2, 5]


def test_the_separator_is_the_consistent_one_and_not_the_frequent_one(table):
    texts = [f"first, second, third, fourth {i};{i},5" for i in range(5)]
    found = table(lines("text;value", *texts))
    assert (found.separator, found.columns) == (";", ["text", "value"])
    decimals = [f"2024-01-0{i};1,08{i};1,09{i}" for i in range(1, 6)]
    assert table(lines(*decimals)).separator == ";"
    assert table(lines("day;open;close", *decimals)).separator == ";"


@pytest.mark.parametrize("name", ["row", "index", "symbol", "time", "label", "timestamp", "0"])
def test_no_name_is_reserved(table, name):
    found = table(f"{name},x\n1,2\n3,4\n")
    assert found.frame[name].to_list() == ["1", "3"]


def test_names_that_were_not_given_are_free_ones(table):
    found = table("unnamed_1,,a\n1,2,3\n")
    assert found.columns[0] == "unnamed_1"
    assert len(set(found.columns)) == 3
    with pytest.raises(BarsError, match="two columns are called a"):
        table("a,b,a\n1,2,3\n").refuse_repeated()


YFINANCE = ("Price,Close,High,Volume", "Ticker,AAPL,AAPL,AAPL", "Date,,,")


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (YFINANCE, ["Date", "Close AAPL", "High AAPL", "Volume AAPL"]),
        (
            ("Date,Close,High,Volume", ",AAPL,AAPL,AAPL"),
            ["Date", "Close AAPL", "High AAPL", "Volume AAPL"],
        ),
        (
            (",Close,High,Volume", ",AAPL,AAPL,AAPL", "Date,,,"),
            ["Date", "Close AAPL", "High AAPL", "Volume AAPL"],
        ),
        (("Date,Close,High,Volume",), ["Date", "Close", "High", "Volume"]),
    ],
    ids=["three lines", "two lines", "three lines without names", "one line"],
)
def test_headers_of_several_lines(table, head, names):
    found = table(lines(*head, "2024-01-02,1,2,3", "2024-01-03,2,3,4"))
    assert found.columns == names
    assert found.frame.to_series(1).to_list() == ["1", "2"]
    assert bool(found.levels) == (len(head) > 1)


@pytest.mark.parametrize(
    "row", ["?,Rome", "unknown,Rome", ",Rome", "33,Rome", "n/a,Rome"], ids=lambda row: row[:4]
)
def test_a_first_row_of_data_is_no_second_header(table, row):
    found = table(lines("age,city", row, *(f"{i},Oslo" for i in range(20, 30))))
    assert found.columns == ["age", "city"]
    assert len(found.frame) == 11


@pytest.mark.parametrize("names", [("2019", "2020"), ("2020-01-01", "2020-02-01")])
def test_a_header_may_hold_years_or_dates(table, names):
    head = ",".join(("id", *names))
    assert table(f"{head}\n7,1.5,2.5\n8,3,4\n").columns == ["id", *names]
    days = table(f"day,x\n{names[0]},1\n{names[1]},2\n")
    assert days.columns == ["day", "x"]


ODD = {
    "long": (PLAIN + "2024-01-05,4,z,w\n", "row 5 has 4 columns, the table has 3"),
    "short": (PLAIN + "2024-01-05,4\n2024-01-06,4,z\n", "row 5 has 2 columns, the table has 3"),
    "cut off": (PLAIN + "2024-01-05", "row 5 has 1 columns, the table has 3"),
}


@pytest.mark.parametrize("case", ODD)
def test_one_rule_for_rows_of_another_length(table, case):
    content, problem = ODD[case]
    with pytest.raises(BarsError, match=problem):
        table(content)
    repaired = table(content, policy="repair")
    assert [list(row) for row in repaired.frame.rows()][:3] == ROWS
    assert problem in repaired.notes[-1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("day,close\n2024-01-02,1,0850\n2024-01-03,1,0851\n", "row 1 has 2 columns and the rows"),
        ("text,label\na, b, c,1\nd, e, f,2\n", r"row 1 has 2 columns .* 4; quote what holds"),
        ('a,b\n1,"x\n2,y\n', "the quote that opens in row 2 is never closed"),
        ('a,b\n1,"x" y\n2,y\n', "in row 2 text follows a closing quote; write a quote inside"),
        ("a,b\n1,\0\n", "byte 6 is NUL"),
        ("a,b\n\xe9,1\n".encode("latin-1"), "not UTF-8 text .byte 4.; save it as UTF-8"),
        (b"\xff\xfea", "not UTF-16 text"),
    ],
)
def test_an_error_names_the_true_cause(table, content, problem):
    with pytest.raises(BarsError, match=problem):
        table(content)


def test_a_sentence_below_texts_is_a_broken_row(table):
    with pytest.raises(BarsError, match="row 3 has 1 columns, the table has 2"):
        table("text,label\ngood,1\nand this one has no label\n")
