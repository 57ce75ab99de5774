from pathlib import Path

import pytest

from pipelines.jobs.log_tail import MAX_LINE_CHARS, MAX_LINES, LogTail, Redaction

KEY = f"{'0a' * 6}.{'x' * 43}"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "job.log"


def tail_of(path, environment=None, **folders) -> LogTail:
    return LogTail(path, Redaction.of(environment or {}, folders))


def test_the_last_lines_are_kept_and_long_ones_cut(path):
    tail = tail_of(path)
    assert tail.read() == ""
    path.write_text("".join(f"line {n}\n\n" for n in range(50)) + "x" * 1000 + "\n")
    lines = tail.read().split("\n")
    assert len(lines) == MAX_LINES and lines[0] == "line 31"
    assert lines[-1] == "x" * MAX_LINE_CHARS + "..."


def test_a_large_output_is_read_from_its_end_in_whole_lines(path):
    path.write_text("")
    tail = tail_of(path)
    path.write_text("".join(f"{n:0100}\n" for n in range(10_000)))
    assert tail.read().split("\n")[-1] == f"{9999:0100}"
    path.write_text("a" * 1_000_000)  # one line that never ends: its beginning is not known
    assert tail.read() == ""


def test_what_an_earlier_attempt_wrote_is_left_out(path):
    path.write_text("first attempt\n")
    tail = tail_of(path)
    with path.open("a") as log:
        log.write("second attempt\n")
    assert tail.read() == "second attempt"


def test_colours_bars_and_letters_that_no_database_holds_are_removed(path):
    tail = tail_of(path)
    path.write_bytes(b"\x1b[31mred\x1b[0m\x00\n 1%|\r 50%|#\r100%|##\nbroken \xff\n")
    assert tail.read() == "red\n100%|##\nbroken �"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("AWS_SECRET_ACCESS_KEY", "abcdefgh", "key abcdefgh is wrong"),
        ("MLFLOW_TRACKING_PASSWORD", "hunter22", "sent hunter22"),
        ("MLFLOW_TRACKING_TOKEN", "tok-tok-tok", "sent tok-tok-tok"),
        ("DATABASE_URL", "postgresql://u:p%40ss-w0rd@db/x", "password is p@ss-w0rd"),
        ("DATABASE_URL", "postgresql://u:sesame99@db/x", "it is sesame99"),
        ("TLS_SECRET", "BEGIN KEY\nabcdefgh", "abcdefgh"),
        ("X", "", "connect postgresql://ada:pw@db/x failed"),
        ("X", "", "Authorization: Bearer abc.def"),
        ("X", "", f"sent {KEY} to it"),
    ],
)
def test_secrets_are_hidden(path, name, value, line):
    tail = tail_of(path, {name: value})
    path.write_text(line + "\n")
    shown = tail.read()
    assert "***" in shown
    for secret in ("abcdefgh", "hunter22", "tok-tok-tok", "ss-w0rd", "sesame99", "ada:pw", KEY):
        assert secret not in shown
    assert "abc.def" not in shown


def test_words_that_only_look_like_a_setting_stay(path):
    tail = tail_of(path, {"TOKENIZERS_PARALLELISM": "false"})
    path.write_text("promote=false\n")
    assert tail.read() == "promote=false"


def test_folders_are_shown_by_their_names(path, tmp_path):
    tail = tail_of(path, {}, DATA_DIR=tmp_path)
    path.write_text(f"wrote {tmp_path}/bars/x.parquet\n")
    assert tail.read() == "wrote DATA_DIR/bars/x.parquet"


def test_facts_hold_no_secrets_no_control_letters_and_finite_numbers_only():
    redaction = Redaction.of({"API_KEY": "hunter22"}, {"DATA_DIR": Path("/srv/var")})
    facts = {"reason": "hunter22 in /srv/var/x\x00", "n": [1, float("nan"), None], "ok": True}
    assert redaction.within(facts) == {
        "reason": "*** in DATA_DIR/x",
        "n": [1, None, None],
        "ok": True,
    }
