"""What stages do around their work: the platform's MLflow only, one clear line on errors."""

import socket
import time

import pytest

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.stage import check_reachable, exit_with, flat
from registry.errors import ParameterError, RegistryUnavailableError


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dead_mlflow_is_reported_within_two_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        check_reachable(f"http://127.0.0.1:{_free_port()}")
    assert time.monotonic() - started < 2.5


def test_a_database_address_is_not_asked() -> None:
    check_reachable("sqlite:////nowhere/at/all.db")


def test_exit_with_turns_a_deliberate_error_into_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise ParameterError("seed", "x", "a whole number")

    with pytest.raises(SystemExit) as caught:
        exit_with(work)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: seed='x': expected a whole number\n"


def test_exit_with_lets_a_bug_show_its_traceback() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_with(work)


def test_parameters_of_all_groups_are_logged_flat() -> None:
    together = flat(SourceParameters(end="2006-12-31"), RecipeParameters(seed=3))
    assert (together["end"], together["seed"], together["policy"]) == ("2006-12-31", 3, "strict")
