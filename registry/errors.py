"""Every deliberate error of the platform.

One root, `MLEngineError`; below it one family per way of answering (invalid input, not found,
conflict, unavailable, timeout, conversion, artifact, settings). An error takes its facts as
arguments, keeps them as attributes and builds its own one-line message: what was expected, what
was found, what to do. Errors know nothing of HTTP: `serving/errors.py` holds the one table.
"""

from collections.abc import Iterable
from reprlib import Repr

_REPR = Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict = 3, 8, 8
_REPR.maxstring, _REPR.maxlong, _REPR.maxother = 120, 60, 120


class MLEngineError(Exception):
    """Root of every deliberate error; `str(error)` is one line for people."""


# Families --------------------------------------------------------------------------------------


class InvalidInputError(MLEngineError, ValueError):
    """The caller sent something that can never be accepted as it is."""


class NotFoundError(MLEngineError, LookupError):
    """Something named does not exist."""


class ConflictError(MLEngineError):
    """The request is fine but the recorded state does not allow it now."""


class UnavailableError(MLEngineError):
    """A part needed for the answer is not there now; trying again later can help."""

    retry_after_seconds: int = 5


class DeadlineError(MLEngineError, TimeoutError):
    """The answer did not come in time."""


class ConversionError(MLEngineError):
    """A model could not be written in a flavor, or the written artifact disagrees with it."""


class ArtifactError(MLEngineError):
    """A stored artifact is missing, damaged or not what was registered."""


class SettingsError(MLEngineError):
    """An environment variable or a stage parameter cannot be used."""


# Invalid input ---------------------------------------------------------------------------------


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def shown(value: object) -> str:
    """Return `repr(value)`, cut where it is long or deep: a message stays one readable line."""
    return _REPR.repr(value)


class UnknownNameError(InvalidInputError):
    """A name that no catalog entry has."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(f"unknown {kind} {name!r}; known: {_listed(self.known)}")


class UnknownSymbolError(InvalidInputError):
    """A symbol that a source, a store or a version does not hold."""

    def __init__(self, symbol: str, where: str, known: Iterable[str]) -> None:
        self.symbol, self.where, self.known = symbol, where, tuple(sorted(known))
        super().__init__(f"symbol {symbol!r} is not in {where}; it has: {_listed(self.known)}")


class BarsError(InvalidInputError):
    """Bars that break a rule of the checked frame (see `pipelines.bars`)."""

    def __init__(self, problem: str, where: str = "", hint: str = "") -> None:
        self.problem, self.where, self.hint = problem, where, hint
        super().__init__(f"{where + ': ' if where else ''}{problem}{'; ' + hint if hint else ''}")


class TooLittleHistoryError(InvalidInputError):
    """Fewer bars than the features or the folds need."""

    def __init__(self, what: str, needed: int, found: int, hint: str = "") -> None:
        self.what, self.needed, self.found = what, needed, found
        tail = f"; {hint}" if hint else ""
        super().__init__(f"{what} needs {needed} bars but there are {found}{tail}")


class MissingColumnsError(InvalidInputError):
    """A feature set or template needs bar columns that the source does not have."""

    def __init__(self, needed_by: str, missing: Iterable[str], hint: str = "") -> None:
        self.needed_by, self.missing = needed_by, tuple(missing)
        tail = f"; {hint}" if hint else ""
        super().__init__(f"{needed_by} needs the columns {_listed(self.missing)}{tail}")


class ShapeError(InvalidInputError):
    """Rows or arrays of another length or shape than the contract says."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        self.name, self.expected, self.found = name, expected, found
        super().__init__(f"{name}: expected {expected} but got {found}")


class ValueRangeError(InvalidInputError):
    """A number that is not finite or does not fit into float32."""

    def __init__(self, name: str, value: object, expected: str = "a finite float32 number") -> None:
        self.name, self.value, self.expected = name, value, expected
        super().__init__(f"{name}: expected {expected} but got {shown(value)}")


class ParameterError(InvalidInputError):
    """A stage parameter or request field with a value that cannot be used."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name, self.value, self.expected = name, value, expected
        super().__init__(f"{name}={shown(value)}: expected {expected}")


class FitError(InvalidInputError):
    """An architecture cannot be fitted on these rows with these parameters."""

    def __init__(self, architecture: str, problem: str, hint: str) -> None:
        self.architecture, self.problem, self.hint = architecture, problem, hint
        super().__init__(f"{architecture} cannot be fitted: {problem}; {hint}")


class HorizonError(InvalidInputError):
    """A prediction horizon other than the version's."""

    def __init__(self, asked: str, available: str, model: str) -> None:
        self.asked, self.available, self.model = asked, available, model
        super().__init__(f"horizon {asked!r} is not served by {model}; available: {available}")


class NoHistoryError(NotFoundError):
    """A symbol for which the store holds no bars."""

    def __init__(self, symbol: str, known: Iterable[str]) -> None:
        self.symbol, self.known = symbol, tuple(sorted(known))
        super().__init__(
            f"no history for {symbol!r}; post its bars to /bars first; held: {_listed(self.known)}"
        )


# Not found, conflict ---------------------------------------------------------------------------


class ModelNotFoundError(NotFoundError):
    """No registered model of this name."""

    def __init__(self, model_id: str, known: Iterable[str]) -> None:
        self.model_id, self.known = model_id, tuple(sorted(known))
        super().__init__(f"unknown model {model_id!r}; registered: {_listed(self.known)}")


class VersionNotFoundError(NotFoundError):
    """No such version or alias of a registered model."""

    def __init__(self, model_id: str, wanted: str, known: Iterable[str]) -> None:
        self.model_id, self.wanted, self.known = model_id, wanted, tuple(known)
        super().__init__(f"model {model_id!r} has no {wanted}; it has: {_listed(self.known)}")


class RunNotFoundError(NotFoundError):
    """No such MLflow run, or the run lacks the artifact that a stage needs."""

    def __init__(self, run_id: str, needed: str) -> None:
        self.run_id, self.needed = run_id, needed
        super().__init__(f"run {run_id!r} has no {needed}")


class JobNotFoundError(NotFoundError):
    """No job of this id."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id!r} in the engine database")


class PromotionConflictError(ConflictError):
    """Another promotion of the same alias won."""

    def __init__(self, model_id: str, alias: str, generation: int) -> None:
        self.model_id, self.alias, self.generation = model_id, alias, generation
        super().__init__(
            f"another promotion of {model_id}@{alias} came first (generation {generation} is "
            "no longer current); look at the version it set and ask again"
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
            f"{model_id} version {number} is in use as {_listed(self.aliases)}; "
            "move the alias first"
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


# Unavailable -----------------------------------------------------------------------------------


class RegistryUnavailableError(UnavailableError):
    """MLflow does not answer."""

    def __init__(self, uri: str, cause: str) -> None:
        self.uri, self.cause = uri, cause
        super().__init__(f"MLflow at {uri} does not answer ({cause}); start it with `make up`")


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


class TimeLimitError(DeadlineError):
    """The answer was not ready in time; the request's work is given up."""

    def __init__(self, what: str, limit_seconds: float, variable: str) -> None:
        self.what, self.limit_seconds, self.variable = what, limit_seconds, variable
        super().__init__(f"{what} took longer than {limit_seconds:g} s ({variable}); ask for less")


class DatabaseUnavailableError(UnavailableError):
    """The engine database does not answer."""

    def __init__(self, url: str, cause: str) -> None:
        self.url, self.cause = url, cause
        super().__init__(
            f"engine database {url} does not answer ({cause}); start it or correct DATABASE_URL"
        )


class StoreBusyError(UnavailableError):
    """Another process holds the lock of a bars folder for too long."""

    def __init__(self, where: str, waited_seconds: float) -> None:
        self.where, self.waited_seconds = where, waited_seconds
        super().__init__(
            f"{where} is locked by another process for {waited_seconds:g} s; try again"
        )


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

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.url, self.found, self.needed = url, found, needed
        super().__init__(
            f"engine database {url} is at revision {found or 'none'} but {needed} is needed; "
            "run `make migrate`"
        )


# Conversion, artifacts, settings ---------------------------------------------------------------


class ParityError(ConversionError):
    """A converted artifact disagrees with the native model beyond the limit."""

    def __init__(self, flavor: str, difference: float, limit: float) -> None:
        self.flavor, self.difference, self.limit = flavor, difference, limit
        super().__init__(
            f"flavor {flavor!r} differs from native by {difference:.3g}, limit {limit:.3g}"
        )


class UnsupportedModelError(ConversionError):
    """A flavor cannot hold this architecture."""

    def __init__(self, flavor: str, architecture: str, reason: str) -> None:
        self.flavor, self.architecture, self.reason = flavor, architecture, reason
        super().__init__(f"flavor {flavor!r} cannot hold {architecture!r}: {reason}")


class DigestMismatchError(ArtifactError):
    """A file's SHA-256 is not the one recorded at registration."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path, self.expected, self.found = path, expected, found
        super().__init__(
            f"artifact {path} has sha256 {found[:12]} but {expected[:12]} was registered; "
            "it is not loaded"
        )


class UnreadableArtifactError(ArtifactError):
    """A file that cannot be parsed as the flavor it is stored as."""

    def __init__(self, flavor: str, cause: str) -> None:
        self.flavor, self.cause = flavor, cause
        super().__init__(
            f"the artifact cannot be read as flavor {flavor!r} ({cause}); convert the model again"
        )


class DamagedFileError(ArtifactError):
    """A file that this engine wrote beside its cache cannot be read."""

    def __init__(self, path: str, cause: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"{path} cannot be read ({cause}); delete it, it is written anew")


class MissingArtifactError(ArtifactError):
    """A file that a version's record lists is not there."""

    def __init__(self, path: str, hint: str = "") -> None:
        self.path = path
        super().__init__(f"artifact {path} is missing{'; ' + hint if hint else ''}")


class FingerprintMismatchError(ArtifactError):
    """A version's features are defined differently from this code's."""

    def __init__(self, feature_set: str, expected: str, found: str) -> None:
        self.feature_set, self.expected, self.found = feature_set, expected, found
        super().__init__(
            f"feature set {feature_set!r}: the version was trained with definition "
            f"{expected[:12]}, this code computes {found[:12]}; train a new version"
        )


class DriftDisagreementError(ArtifactError):
    """A drift report would show another number than the one that decided."""

    def __init__(self, column: str, decided: float, shown: float) -> None:
        self.column, self.decided, self.shown = column, decided, shown
        super().__init__(
            f"column {column!r}: the verdict rests on {decided:.6g} but Evidently's report shows "
            f"{shown:.6g}; install the Evidently of requirements.lock"
        )


class GoldenRowsError(ArtifactError):
    """A loaded artifact does not reproduce the answers recorded at training."""

    def __init__(self, flavor: str, difference: float, limit: float) -> None:
        self.flavor, self.difference, self.limit = flavor, difference, limit
        super().__init__(
            f"flavor {flavor!r} misses its golden rows by {difference:.3g} (limit {limit:.3g}); "
            "it is not loaded"
        )


class ForeignTrackingError(SettingsError):
    """A stage would write to another MLflow than the platform's."""

    def __init__(self, found: str, expected: str) -> None:
        self.found, self.expected = found, expected
        super().__init__(
            f"MLFLOW_TRACKING_URI is {found!r} but the platform's is {expected!r}; "
            f"export MLFLOW_TRACKING_URI={expected}"
        )


class PortInUseError(SettingsError):
    """The port to listen on is taken."""

    def __init__(self, port: int, variable: str) -> None:
        self.port, self.variable = port, variable
        super().__init__(f"port {port} is already in use; stop its process or set {variable}")


class SettingValueError(SettingsError):
    """An environment variable whose value cannot be read."""

    def __init__(self, variable: str, value: object, problem: str) -> None:
        self.variable, self.value, self.problem = variable, value, problem
        super().__init__(f"{variable}={value!r}: {problem}")
