"""What an error tells to do is something that its reader can do."""

import pytest

from registry.errors import (
    DamagedBarsError,
    DatabaseNotMigratedError,
    KeyNotFoundError,
    PairMismatchError,
    RegistryUnavailableError,
)


@pytest.mark.parametrize(
    ("error", "line", "for_callers"),
    [
        (
            RegistryUnavailableError("http://127.0.0.1:5000", "refused"),
            "start it with `make up`",
            "try again",
        ),
        (
            RegistryUnavailableError("http://mlflow:5000", "refused"),
            "start its server, or correct MLFLOW_TRACKING_URI",
            "try again",
        ),
        (PairMismatchError("http://x", "sqlite:///y", "z"), "registry pair", "operator"),
        (DatabaseNotMigratedError("u", "0001", "0002"), "run `make migrate`", "operator"),
        (DamagedBarsError("1d", {"x": ["AAA"]}), "monitoring.damage --move-aside", "operator"),
        (KeyNotFoundError("k"), "python -m serving.keys list", "GET /keys"),
    ],
)
def test_a_hint_names_what_the_reader_can_do_where_he_is(error, line, for_callers):
    assert line in str(error)
    assert for_callers in error.for_callers
    assert line not in error.for_callers
