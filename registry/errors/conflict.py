"""What the recorded state does not allow now."""

from collections.abc import Iterable

from registry.errors.families import ConflictError, listed, shown


class PromotionConflictError(ConflictError):
    """Another promotion of the same alias won."""

    def __init__(self, model_id: str, alias: str, generation: int) -> None:
        self.model_id, self.alias, self.generation = model_id, alias, generation
        super().__init__(
            f"another promotion of {model_id}@{alias} came first (generation {generation} is "
            "no longer current); look at the version it set and ask again"
        )


class NumbersRestartError(ConflictError):
    """A registered model was deleted in MLflow, so its next numbers would be those of before."""

    def __init__(self, model_id: str, found: str, newest: int) -> None:
        self.model_id, self.found, self.newest = model_id, found, newest
        super().__init__(
            f"the registered model {model_id!r} was deleted in MLflow: {found}, and numbers up to "
            f"{newest} are taken; restore MLflow's backup, or train under another model_name"
        )


class OtherVersionError(ConflictError):
    """MLflow has a version of this number that another run made; its files are not registered."""

    def __init__(self, model_id: str, number: int, registered: str, found: str) -> None:
        self.model_id, self.number = model_id, number
        self.registered, self.found = registered, found
        super().__init__(
            f"{model_id} version {number} in MLflow is of run {found}, but of run {registered} "
            "here: it was deleted there and its number given again; promote another version, or "
            "restore MLflow's backup"
        )


class VersionExistsError(ConflictError):
    """The engine database already knows this version, from another MLflow."""

    def __init__(self, model_id: str, number: int) -> None:
        self.model_id, self.number = model_id, number
        super().__init__(
            f"the engine database already has {model_id} version {number}, registered in another "
            "MLflow; point DATABASE_URL and MLFLOW_TRACKING_URI at one installation"
        )


class VersionInUseError(ConflictError):
    """A version that an alias points at cannot be deleted."""

    def __init__(self, model_id: str, number: int, aliases: Iterable[str]) -> None:
        self.model_id, self.number, self.aliases = model_id, number, tuple(aliases)
        super().__init__(
            f"{model_id} version {number} is in use as {listed(self.aliases)}; move the alias first"
        )


class ModelExistsError(ConflictError):
    """A model of this name was made before."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(
            f"model {model_id!r} exists already; train it, restore it if it is archived, or choose "
            "another name"
        )


class ModelArchivedError(ConflictError):
    """An archived model is neither trained nor promoted."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(f"model {model_id!r} is archived; restore it first (archived: false)")


class ModelInUseError(ConflictError):
    """A model that an alias or an open deployment names cannot be archived."""

    def __init__(self, model_id: str, aliases: Iterable[str]) -> None:
        self.model_id, self.aliases = model_id, tuple(sorted(aliases))
        super().__init__(
            f"model {model_id!r} is in use as {listed(self.aliases)}; withdraw it first "
            f"(POST /models/{model_id}/withdraw)"
        )


class NothingToWithdrawError(ConflictError):
    """An alias that names no version."""

    def __init__(self, model_id: str, alias: str) -> None:
        self.model_id, self.alias = model_id, alias
        super().__init__(f"model {model_id!r} has no alias {alias!r}: nothing to withdraw")


class NothingToAcceptError(ConflictError):
    """A version whose answers nobody has to accept."""

    def __init__(self, model_id: str, number: int, why: str) -> None:
        self.model_id, self.number, self.why = model_id, number, why
        super().__init__(f"{model_id} version {number} has no changed answers to accept: {why}")


class NothingToTrainError(ConflictError):
    """A model that has neither a recipe nor a version to take one from."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(
            f"model {model_id!r} has no recipe and no version to take one from; make one under "
            "this name with a stage, or create a model of another name"
        )


class NoPreviousVersionError(ConflictError):
    """There is no earlier champion to roll back to."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(
            f"model {model_id!r} has no earlier champion to roll back to; promote a version instead"
        )


class GateRefusedError(ConflictError):
    """A lock stays shut; `refusals` holds one line per gate: name, value, limit."""

    def __init__(self, model_id: str, number: int, lock: str, refusals: Iterable[str]) -> None:
        self.model_id, self.number, self.lock = model_id, number, lock
        self.refusals = tuple(refusals)
        super().__init__(
            f"{model_id} version {number} is refused by its {lock} lock: {'; '.join(self.refusals)}"
        )


class NothingImplausibleError(ConflictError):
    """No plausibility gate of the version refuses by a measured value."""

    def __init__(self, model_id: str, number: int) -> None:
        self.model_id, self.number = model_id, number
        super().__init__(
            f"no plausibility gate of {model_id} version {number} refuses by a value that a person "
            "could accept; see its gates with python -m registry show"
        )


class PriceBasisConflictError(ConflictError):
    """Bars of another price basis than those already held for the interval."""

    def __init__(self, interval: str, held: str, offered: str) -> None:
        self.interval, self.held, self.offered = interval, held, offered
        super().__init__(
            f"the store holds {held!r} prices for interval {interval}, not {offered!r}; mixing "
            "them would look like a price jump: use another store folder"
        )


class StaleLeaseError(ConflictError):
    """A worker reports on a job whose lease another worker holds now."""

    def __init__(self, job_id: str, owner: str) -> None:
        self.job_id, self.owner = job_id, owner
        super().__init__(f"job {job_id} is no longer leased to {owner}; its report is discarded")


class IdempotencyConflictError(ConflictError):
    """An idempotency key that stands for another request."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"this Idempotency-Key was sent before with another request, which made job {job_id}; "
            "send a new key with a new request"
        )


class StudyConflictError(ConflictError):
    """A study of this name searches something else."""

    given = ("asked",)

    def __init__(self, study: str, parameter: str, kept: object, asked: object) -> None:
        self.study, self.parameter, self.kept, self.asked = study, parameter, kept, asked
        told = f"study {study!r} was made with another {parameter}"
        hint = "leave it out to join the study, or name another study"
        super().__init__(f"{told}: {shown(kept)}, not {shown(asked)}; {hint}", f"{told}; {hint}")


class StudyReadOnlyError(ConflictError):
    """A study is shown, and what shows it would change it."""

    def __init__(self, study: str) -> None:
        self.study = study
        super().__init__(f"study {study!r} is shown to be looked at; nothing changes it here")


class TrialLostError(ConflictError):
    """A worker of a study was taken for gone, and its trial given to another."""

    def __init__(self, study: str, place: int) -> None:
        self.study, self.place = study, place
        super().__init__(
            f"trial {place + 1} of study {study!r} was given to another worker while the storage "
            "did not answer to this one; it counts once"
        )


class SearchNotEndedError(ConflictError):
    """The winner of a search that has not ended, or did not end well, is not known."""

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id, self.state = job_id, state
        super().__init__(f"search {job_id} is {state}: only one that is done has a winner")


class NothingFoundError(ConflictError):
    """A study without a winner has nothing to deploy."""

    def __init__(self, study: str, why: str) -> None:
        self.study, self.why = study, why
        super().__init__(f"study {study!r} has nothing to deploy: {why}")
