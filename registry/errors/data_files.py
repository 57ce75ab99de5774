"""What is wrong with uploaded data, or with what is asked of them.

Messages name no value that a caller sent, because a name may be anything until it is checked.
"""

from collections.abc import Iterable

from registry.errors.families import (
    ArtifactError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    listed,
)


class DataNameError(InvalidInputError):
    """A name that uploaded data cannot have."""

    def __init__(self) -> None:
        super().__init__(
            "name: expected 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit"
        )


class DataNotFoundError(NotFoundError):
    """No uploaded data of this name."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name, self.known = name, tuple(sorted(known))
        has = f"; there are: {listed(self.known)}" if self.known else ""
        super().__init__(f"no uploaded data {name!r}{has}; upload them with PUT /data/{name}")


class DataRefusedError(InvalidInputError):
    """An upload that is not what training reads."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"{name} is refused: {problem}")


class ModelFileError(InvalidInputError):
    """An upload that is a model and no data."""

    def __init__(self, name: str, what: str) -> None:
        self.name, self.what = name, what
        super().__init__(
            f"{name} is refused: it is {what}, and models are not uploaded, because a foreign "
            "artifact may run code and has no evidence; upload data and let this platform train"
        )


class DataNameTakenError(ConflictError):
    """A name that differs from a held one in capitals only."""

    def __init__(self, name: str, held: str) -> None:
        self.name, self.held = name, held
        super().__init__(f"{name!r} differs from the held {held!r} in capitals only; use that name")


class DataInUseError(ConflictError):
    """Data that a model or a job would read again."""

    def __init__(self, name: str, users: Iterable[str]) -> None:
        self.name, self.users = name, tuple(sorted(users))
        super().__init__(
            f"{name} is in use by {listed(self.users)}; archive the model, or wait for the job"
        )


class DataMissingError(ArtifactError):
    """Uploaded data whose file is gone or changed on disk."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"the file of data {name!r} {problem}; upload it again")


class DiskFullError(UnavailableError):
    """There is no room for an upload."""

    retry_after_seconds = 300

    def __init__(self, reserve_bytes: int) -> None:
        self.reserve_bytes = reserve_bytes
        super().__init__(
            f"the disk is full: {reserve_bytes} bytes must stay free below DATA_DIR; "
            "delete data that no model needs, or make room"
        )


class DiskRefusedError(UnavailableError):
    """The disk below DATA_DIR takes or gives nothing now: it is full, read-only or broken."""

    retry_after_seconds = 30

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"the disk below DATA_DIR cannot be used now ({cause}); nothing was kept; send it "
            "again when it takes something"
        )


class TooManyUploadsError(UnavailableError):
    """As many files arrive as may at once."""

    retry_after_seconds = 30

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} uploads arrive now, and no more may; try again")


class FrameFileError(InvalidInputError):
    """Rows in a file or body that cannot be read, or that unfold too far."""

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}; write it as Parquet or as an Arrow IPC stream")


class ResultNotReadyError(ConflictError):
    """A batch job that is not done, and has no answers to download."""

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id, self.state = job_id, state
        super().__init__(f"job {job_id!r} is {state}; ask for JSON to see how far it is")


class ResultGoneError(NotFoundError):
    """Answers of a batch job that are kept no longer."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"the answers of job {job_id!r} are kept no longer (RESULTS_RETENTION); send the rows "
            "again"
        )
