"""A study in optuna-dashboard, to look at: `python -m pipelines.tuning.dashboard --study NAME`.

It reads the journal wherever the study lies, while workers write it, and changes nothing: notes and
deletions that the dashboard offers are refused.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from pipelines.parameters import described, parse
from pipelines.tuning.storage import Journal, Log
from pipelines.tuning.studies import KeptStudy
from registry.command_line import run
from registry.database import opened_engine
from registry.errors import MissingPackageError, ParameterError, StudyReadOnlyError
from registry.settings import PlatformSettings, read_settings

EXTRA = "dashboard"


@dataclass(frozen=True, slots=True)
class DashboardParameters:
    """Which study to show, and where."""

    study: str = described("", "name of the study")
    host: str = described("127.0.0.1", "address to listen on; whoever reaches it sees the study")
    port: int = described(8380, "port to listen on")


class ReadOnly(BaseJournalBackend):
    """A journal that is read and not written."""

    def __init__(self, journal: Journal, study: str) -> None:
        self._journal, self._study = journal, study

    def read_logs(self, log_number_from: int) -> Generator[Log, None, None]:
        """Yield the changes from this number on."""
        yield from self._journal.read_logs(log_number_from)

    def append_logs(self, logs: list[Log]) -> None:
        """Refuse them.

        Raises:
            StudyReadOnlyError: always.
        """
        raise StudyReadOnlyError(self._study)


def storage(study: KeptStudy) -> JournalStorage:
    """Return a study's storage as it may be shown."""
    return JournalStorage(ReadOnly(study.journal, study.name))


def main(argv: Sequence[str] | None = None) -> None:
    """Show a study until the process is stopped.

    Raises:
        ParameterError: there is no study of this name.
        MissingPackageError: optuna-dashboard is not installed.
    """
    (asked,) = parse(argv, __doc__, DashboardParameters)
    try:
        from optuna_dashboard import run_server
    except ImportError as exc:
        raise MissingPackageError("the dashboard", "optuna-dashboard", EXTRA) from exc
    settings = read_settings(PlatformSettings)
    with opened_engine(settings) as engine:
        study = KeptStudy.find(settings, engine, asked.study)
        if study is None:
            raise ParameterError("study", asked.study, "the name of a study that tune has made")
        print(f"study {asked.study}: http://{asked.host}:{asked.port}/dashboard/", flush=True)
        server: Any = run_server
        server(storage(study), host=asked.host, port=asked.port)


if __name__ == "__main__":
    run(main)
