"""What is not there now; trying again later can help."""

from registry.errors.families import DeadlineError, UnavailableError


class RegistryUnavailableError(UnavailableError):
    """MLflow does not answer."""

    given = ("uri", "cause")

    def __init__(self, uri: str, cause: str) -> None:
        self.uri, self.cause = uri, cause
        super().__init__(
            f"MLflow at {uri} does not answer ({cause}); {_start(uri)}",
            "MLflow does not answer; try again",
        )


def _start(uri: str) -> str:
    """Return what whoever runs a command can do about an MLflow that does not answer."""
    if "//127.0.0.1" in uri or "//localhost" in uri:
        return "start it with `make up`"
    return "start its server, or correct MLFLOW_TRACKING_URI"


class PairMismatchError(UnavailableError):
    """The engine database and MLflow belong to two installations, or one is an older backup."""

    given = ("uri", "url")

    def __init__(self, uri: str, url: str, found: str) -> None:
        self.uri, self.url, self.found = uri, url, found
        hint = (
            "point MLFLOW_TRACKING_URI and DATABASE_URL (or DATA_DIR) at one installation; if one "
            "of them was restored from a backup: python -m registry pair --reason ..."
        )
        super().__init__(
            f"MLflow at {uri} and the engine database {url} are no pair: {found}; {hint}",
            "MLflow and the engine database of this server are no pair; its operator must mend it",
        )


class ArtifactStoreUnavailableError(UnavailableError):
    """The store that MLflow keeps artifacts in (a disk, S3) is away or refuses; MLflow answers."""

    given = ("uri", "cause")

    def __init__(self, uri: str, cause: str) -> None:
        self.uri, self.cause = uri, cause
        super().__init__(
            f"the artifact store of {uri} cannot be used now ({cause}); nothing is lost, try again",
            "the artifact store of MLflow cannot be used now; nothing is lost, try again",
        )


class StudyUnavailableError(UnavailableError):
    """The journal of a study cannot be read or written: a disk, or the engine database."""

    given = ("cause",)

    def __init__(self, study: str, cause: str) -> None:
        self.study, self.cause = study, cause
        told = f"study {study!r} cannot be used now"
        hint = "what it holds is kept; run the command again to go on"
        super().__init__(f"{told} ({cause}); {hint}", f"{told}; {hint}")


class ModelNotLoadedError(UnavailableError):
    """A model exists but this process has no version of it loaded; says why."""

    def __init__(self, model_id: str, reason: str) -> None:
        self.model_id, self.reason = model_id, reason
        super().__init__(f"model {model_id!r} is not loaded: {reason}")


class BackendUnavailableError(UnavailableError):
    """The requested hardware is not here."""

    def __init__(self, backend: str, reason: str) -> None:
        self.backend, self.reason = backend, reason
        super().__init__(f"backend {backend!r} is not available here: {reason}")


class OverloadedError(UnavailableError):
    """More requests wait than the process takes."""

    retry_after_seconds = 1

    def __init__(self, waiting: int, limit: int) -> None:
        self.waiting, self.limit = waiting, limit
        super().__init__(f"{waiting} requests are waiting already (MAX_WAITING={limit}); retry")


class TooManyStreamsError(UnavailableError):
    """More streams of events are open than the process takes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"{limit} streams of events are open already (MAX_EVENT_STREAMS); close one, or ask "
            "again and again without a stream"
        )


class TimeLimitError(DeadlineError):
    """The answer was not ready in time; the request's work is given up."""

    def __init__(self, what: str, limit_seconds: float, variable: str) -> None:
        self.what, self.limit_seconds, self.variable = what, limit_seconds, variable
        super().__init__(f"{what} took longer than {limit_seconds:g} s ({variable}); ask for less")


class DatabaseUnavailableError(UnavailableError):
    """The engine database does not answer."""

    given = ("url", "cause")

    def __init__(self, url: str, cause: str) -> None:
        self.url, self.cause = url, cause
        super().__init__(
            f"engine database {url} does not answer ({cause}); {_mend(url)}",
            "the engine database does not answer; the log of the server says why",
        )


def _mend(url: str) -> str:
    """Return what whoever runs a command can do about a database."""
    if url.startswith("sqlite"):
        return "correct DATA_DIR or DATABASE_URL, or the rights of that folder"
    return "start it or correct DATABASE_URL"


class StoreBusyError(UnavailableError):
    """Another process holds the lock of a bars folder for too long."""

    given = ("where",)

    def __init__(self, where: str, waited_seconds: float) -> None:
        self.where, self.waited_seconds = where, waited_seconds
        told = f"locked by another process for {waited_seconds:g} s; try again"
        super().__init__(f"{where} is {told}", f"the folder of the bars is {told}")


class MissingPackageError(UnavailableError):
    """A part needs a package that is not installed here."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.what, self.package, self.extra = what, package, extra
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed; "
            f"pip install 'nautilus-ml-engine[{extra}]'"
        )


class DatabaseNotMigratedError(UnavailableError):
    """The engine database's schema is not the one this code needs."""

    given = ("url",)

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.url, self.found, self.needed = url, found, needed
        told = f"is at revision {found or 'none'} but {needed} is needed; run `make migrate`"
        super().__init__(
            f"engine database {url} {told}",
            "the engine database is of another release; its operator must migrate it",
        )
