from demo.terminal import WIDTH, say, show_command

LONG = (
    "  refused edge.direction: 0.48, needs < -1.645 (" + "of the log loss " * 12 + "; 22572 rows)"
)


def test_a_long_line_is_wrapped_below_what_it_says_and_loses_nothing(capsys):
    say(LONG, indent=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("      refused edge.direction")
    assert all(line.startswith(" " * 14) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(LONG.split())


def test_a_short_line_stays_one(capsys):
    say("serving answers")
    assert capsys.readouterr().out == "  serving answers\n"


def test_a_command_can_be_pasted(capsys):
    show_command(["mlflow", "run", "."], ["-P", "end=2006-12-31"])
    assert capsys.readouterr().out == "  $ mlflow run . \\\n      -P end=2006-12-31\n"
