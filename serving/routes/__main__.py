"""Write the table of addresses into docs/api.md: `python -m serving.routes`."""

import re
from pathlib import Path

from registry.command_line import run
from serving.route_table import TABLE_HEAD, markdown
from serving.routes import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def main() -> None:
    """Replace the table by the route table's rows."""
    table = re.compile(re.escape(TABLE_HEAD) + r"(\n\|[^\n]*)*")
    text, n_tables = table.subn(lambda _: markdown(ROUTES), PAGE.read_text())
    assert n_tables == 1, f"{PAGE} has {n_tables} tables of addresses"
    PAGE.write_text(text)


if __name__ == "__main__":
    run(main)
