"""What was named and does not exist."""

from collections.abc import Iterable

from registry.errors.families import NotFoundError, listed


class NoHistoryError(NotFoundError):
    """A symbol for which the store holds no bars."""

    names = ("symbol",)

    def __init__(self, symbol: str, known: Iterable[str]) -> None:
        self.symbol, self.known = symbol, tuple(sorted(known))
        super().__init__(
            f"no history for {symbol!r}; post its bars to /bars first; held: {listed(self.known)}"
        )


class ModelNotFoundError(NotFoundError):
    """No registered model of this name."""

    names = ("model_id",)

    def __init__(self, model_id: str, known: Iterable[str]) -> None:
        self.model_id, self.known = model_id, tuple(sorted(known))
        super().__init__(f"unknown model {model_id!r}; registered: {listed(self.known)}")


class VersionNotFoundError(NotFoundError):
    """No such version or alias of a registered model."""

    names = ("model_id",)

    def __init__(self, model_id: str, wanted: str, known: Iterable[str]) -> None:
        self.model_id, self.wanted, self.known = model_id, wanted, tuple(known)
        super().__init__(f"model {model_id!r} has no {wanted}; it has: {listed(self.known)}")


class RunNotFoundError(NotFoundError):
    """No such MLflow run, or the run lacks the artifact that a stage needs."""

    names = ("run_id",)

    def __init__(self, run_id: str, needed: str) -> None:
        self.run_id, self.needed = run_id, needed
        super().__init__(f"run {run_id!r} has no {needed}")


class JobNotFoundError(NotFoundError):
    """No job of this id."""

    names = ("job_id",)

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id!r} in the engine database")


class NotASearchError(NotFoundError):
    """The job of this id is something else than a search."""

    def __init__(self, job_id: str, entry_point: str) -> None:
        self.job_id, self.entry_point = job_id, entry_point
        super().__init__(f"job {job_id} is no search but {entry_point}; see GET /jobs/{job_id}")


class KeyNotFoundError(NotFoundError):
    """No key of this id."""

    names = ("key_id",)

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        told = f"no key {key_id!r}; list them with"
        super().__init__(f"{told} python -m serving.keys list", f"{told} GET /keys")
