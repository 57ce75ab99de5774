"""What is wrong with an artifact, a conversion or a setting."""

from collections.abc import Mapping, Sequence

from registry.errors.families import ArtifactError, ConversionError, SettingsError


class UnsupportedModelError(ConversionError):
    """A flavor cannot hold this architecture."""

    def __init__(self, flavor: str, architecture: str, reason: str) -> None:
        self.flavor, self.architecture, self.reason = flavor, architecture, reason
        super().__init__(f"flavor {flavor!r} cannot hold {architecture!r}: {reason}")


class UnmeasuredArtifactError(ConversionError):
    """A version carries an artifact that its record calls impossible, so nothing compared it."""

    def __init__(self, artifact: str, note: str) -> None:
        self.artifact, self.note = artifact, note
        super().__init__(
            f"artifact {artifact!r} is among the files but its record says it is not applicable "
            f"({note}); convert the model again"
        )


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


class UnevaluatedPackageError(ArtifactError):
    """A Core ML package has something that the reference interpreter does not know."""

    def __init__(self, what: str, known: Sequence[str] = ()) -> None:
        self.what, self.known = what, tuple(known)
        known_ones = f"; known: {', '.join(self.known)}" if known else ""
        super().__init__(
            f"the reference interpreter does not evaluate {what}, so it refuses the Core ML "
            f"package{known_ones}"
        )


class DamagedFileError(ArtifactError):
    """A file that this engine wrote beside its cache cannot be read."""

    given = ("path", "cause")

    def __init__(self, path: str, cause: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(
            f"{path} cannot be read ({cause}); delete it, it is written anew",
            "a file of the cache cannot be read; the log of the server says which",
        )


class DamagedStudyError(ArtifactError):
    """A line of a study's journal is not what this engine wrote."""

    given = ("path",)

    def __init__(self, study: str, path: str, line: int) -> None:
        self.study, self.path, self.line = study, path, line
        told = f"the journal of study {study!r} is damaged at line {line}"
        hint = "restore it from a backup, or begin a study under another name"
        super().__init__(f"{told} ({path}); {hint}", f"{told}; {hint}")


class DamagedBarsError(ArtifactError):
    """Files of the bars store cannot be read, or hold other bytes than were written.

    `damaged` is file name -> symbols; none where not even they can be read.
    """

    def __init__(self, interval: str, damaged: Mapping[str, Sequence[str]]) -> None:
        self.interval, self.damaged = interval, {n: list(s) for n, s in damaged.items()}
        self.symbols = sorted({symbol for held in damaged.values() for symbol in held})
        whose = ", ".join(self.symbols[:20]) or "symbols that it does not tell"
        files = ", ".join(f"bars/{interval}/{name}" for name in sorted(damaged)[:3])
        told = f"{files} with {interval} bars of {whose} is damaged"
        super().__init__(
            f"{told}; set it apart with python -m monitoring.damage --move-aside, then post its "
            "bars again",
            f"{told}; when the operator has set it apart, post its bars again",
        )


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


class GoldenAnswersError(ArtifactError):
    """The code of a template, changed since, cannot decode a version's golden inputs at all."""

    def __init__(self, template: str, problem: str) -> None:
        self.template, self.problem = template, problem
        super().__init__(
            f"template {template!r} as it is now cannot decode the version's golden answers "
            f"({problem}); fit the model anew"
        )


class GoldenRowsError(ArtifactError):
    """A loaded artifact does not reproduce the answers recorded at training."""

    def __init__(self, flavor: str, difference: float, limit: float) -> None:
        self.flavor, self.difference, self.limit = flavor, difference, limit
        super().__init__(
            f"flavor {flavor!r} misses its golden rows by {difference:.3g} (limit {limit:.3g}); "
            "it is not loaded"
        )


class ReplayError(ArtifactError):
    """A run fitted again does not give what it stored."""

    def __init__(self, run_id: str, differences: Sequence[str]) -> None:
        self.run_id, self.differences = run_id, tuple(differences)
        super().__init__(f"run {run_id} is not reproduced: {'; '.join(self.differences)}")


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
