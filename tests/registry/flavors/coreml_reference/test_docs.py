"""The page names exactly the operations that are evaluated."""

import re
from pathlib import Path

from registry.flavors.coreml_reference.operations import NAMES

PAGE = Path(__file__).parents[4] / "docs" / "coreml_reference.md"


def test_the_table_of_operations_is_the_codes():
    rows = re.findall(r"^\| `\w+\.py` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == list(NAMES)
