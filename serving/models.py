"""Which versions are loaded: one per model in production, a bounded few on demand.

A production version is replaced in one assignment. A request that began with the old version keeps
it until it has answered; then nothing holds it any more. Versions asked for by number or alias are
loaded on demand, and the least recently used is dropped first. A version that fails to load changes
only the list of problems.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from registry.alias_rows import PRODUCTION
from registry.artifacts import ArtifactCache
from registry.errors import ModelNotFoundError, ModelNotLoadedError, VersionNotFoundError
from registry.golden_answers import AnswerChange
from serving.loading import LoadedVersion, load
from serving.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a model is not served, or not in the version that its alias names.

    `is_fault` says whether somebody must mend it; that nothing was promoted yet is none.
    """

    reason: str
    number: int | None = None
    is_fault: bool = True
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


class Models:
    """The loaded versions of this process. Safe for threads.

    Args:
        cache: gives checked files of versions.
        max_bytes: artifact bytes that on-demand versions may hold together (one always fits).
        is_measured: whether latency curves are measured at load.
    """

    def __init__(
        self, cache: ArtifactCache, metrics: Metrics, max_bytes: int, is_measured: bool = True
    ) -> None:
        self._cache, self._metrics = cache, metrics
        self._max_bytes, self._is_measured = max_bytes, is_measured
        self._loading = Lock()  # one load on demand at a time
        self._lock = Lock()  # guards everything below
        self._production: dict[str, LoadedVersion] = {}
        self._on_demand: OrderedDict[tuple[str, int], LoadedVersion] = OrderedDict()
        self._aliases: dict[str, dict[str, int]] = {}
        self._has_aliases = False
        self._archived: frozenset[str] = frozenset()
        self._problems: dict[str, Problem] = {}
        self._changed: dict[str, tuple[AnswerChange, ...]] = {}

    # What the registry says, brought by the follower --------------------------------------------

    def learn(
        self,
        aliases: Mapping[str, Mapping[str, int]],
        archived: frozenset[str] = frozenset(),
    ) -> None:
        """Take the registry's models and aliases.

        Production of a model that has vanished or is archived is dropped; of an archived one
        nothing answers.
        """
        with self._lock:
            self._aliases = {model_id: dict(found) for model_id, found in aliases.items()}
            self._has_aliases, self._archived = True, archived
            kept = set(self._aliases) - archived
            for model_id in set(self._production) - kept:
                self._count(self._production.pop(model_id), PRODUCTION, 0)
            for known in (self._problems, self._changed):
                for model_id in set(known) - kept:
                    del known[model_id]

    def serve(self, version: LoadedVersion) -> None:
        """Let this version answer for its model from the next request on."""
        with self._lock:
            before = self._production.get(version.model_id)
            self._production[version.model_id] = version
            self._problems.pop(version.model_id, None)
            if before is None or before.number != version.number:  # until the history is read
                self._changed[version.model_id] = version.golden.changes if version.golden else ()
            if before is not None:
                self._count(before, PRODUCTION, 0)
            self._count(version, PRODUCTION, 1)

    def withdraw(self, model_id: str, reason: str, *, is_fault: bool) -> None:
        """Stop answering for a model that has no production version (any more)."""
        with self._lock:
            before = self._production.pop(model_id, None)
            self._changed.pop(model_id, None)
            if before is not None:
                self._count(before, PRODUCTION, 0)
            self._problems[model_id] = Problem(reason, None, is_fault, datetime.now(UTC))

    def set_problem(self, model_id: str, reason: str, number: int | None) -> bool:
        """Remember why a version is not served; return whether the reason is new."""
        with self._lock:
            known = self._problems.get(model_id)
            self._problems[model_id] = Problem(reason, number, at=datetime.now(UTC))
            return known is None or (known.reason, known.number) != (reason, number)

    def clear_problem(self, model_id: str) -> None:
        """Forget the model's problem: what is served is what the alias names."""
        with self._lock:
            self._problems.pop(model_id, None)

    def set_changed_answers(
        self, model_id: str, number: int, found: tuple[AnswerChange, ...]
    ) -> None:
        """Remember what this code changes in the answers of a version that serves."""
        with self._lock:
            serving = self._production.get(model_id)
            if serving is not None and serving.number == number:
                self._changed[model_id] = found

    # What is there ------------------------------------------------------------------------------

    def production(self) -> dict[str, LoadedVersion]:
        """Return model -> the version that answers."""
        with self._lock:
            return dict(self._production)

    def on_demand(self) -> tuple[LoadedVersion, ...]:
        """Return the versions loaded because somebody asked for them."""
        with self._lock:
            return tuple(self._on_demand.values())

    def aliases(self) -> dict[str, dict[str, int]]:
        """Return model -> alias -> number, as the registry last gave them."""
        with self._lock:
            return {model_id: dict(found) for model_id, found in self._aliases.items()}

    def problem(self, model_id: str) -> Problem | None:
        """Return the reason why the model is not served as its alias says; None when it is."""
        with self._lock:
            return self._problems.get(model_id)

    def problems(self) -> dict[str, Problem]:
        """Return model -> reason, for every model that is not served as its alias says."""
        with self._lock:
            return dict(self._problems)

    def changed_answers(self) -> dict[str, tuple[AnswerChange, ...]]:
        """Return model -> what this code changes in its answers, unless somebody accepted it."""
        with self._lock:
            return {model_id: found for model_id, found in self._changed.items() if found}

    def number_of(self, model_id: str, alias: str) -> int:
        """Return the version that an alias names, as the registry last gave it.

        Raises:
            ModelNotFoundError: no such model.
            ModelNotLoadedError: the registry has not answered yet.
            VersionNotFoundError: the model has no such alias.
        """
        with self._lock:
            if model_id not in self._aliases or model_id in self._archived:
                raise self._absent(model_id)
            known = self._aliases[model_id]
            if alias not in known:
                raise VersionNotFoundError(model_id, f"alias {alias!r}", known)
            return known[alias]

    def find(self, model_id: str, number: int | None = None) -> LoadedVersion | None:
        """Return a loaded version; without `number` the production one. None: load it first.

        Raises:
            ModelNotFoundError: no such model.
            ModelNotLoadedError: the model has no production version, or it could not be loaded.
        """
        with self._lock:
            serving = self._production.get(model_id)
            if (number is None and serving is None) or model_id in self._archived:
                raise self._absent(model_id)
            if serving is not None and number in (None, serving.number):
                return serving
            wanted = (model_id, number or 0)
            if wanted in self._on_demand:
                self._on_demand.move_to_end(wanted)
                return self._on_demand[wanted]
            if model_id not in self._aliases:
                raise self._absent(model_id)
        return None

    def load(self, model_id: str, number: int) -> LoadedVersion:
        """Load a version on demand; minutes are possible, so call it off the event loop.

        Raises:
            VersionNotFoundError: no such version.
            ArtifactError: its files are not what was registered.
        """
        with self._loading:
            found = self.find(model_id, number)
            if found is not None:
                return found
            files = self._cache.fetch(model_id, number)
            *_, version = load(files, model_id, number, is_measured=self._is_measured)
            with self._lock:
                self._on_demand[(model_id, number)] = version
                self._count(version, "on_demand", 1)
                self._evict()
            return version

    def _evict(self) -> None:
        while len(self._on_demand) > 1 and (
            sum(version.n_bytes for version in self._on_demand.values()) > self._max_bytes
        ):
            _, oldest = self._on_demand.popitem(last=False)
            self._count(oldest, "on_demand", 0)

    def _absent(self, model_id: str) -> ModelNotFoundError | ModelNotLoadedError:
        if model_id in self._archived:
            return ModelNotLoadedError(model_id, "it is archived")
        if model_id in self._problems:
            return ModelNotLoadedError(model_id, self._problems[model_id].reason)
        if model_id in self._aliases:
            has_version = bool(self._aliases[model_id])
            reason = "it is being loaded" if has_version else "it has no version yet"
            return ModelNotLoadedError(model_id, reason)
        if not self._has_aliases:
            return ModelNotLoadedError(model_id, "the registry has not answered yet")
        return ModelNotFoundError(model_id, self._aliases)

    def _count(self, version: LoadedVersion, role: str, value: int) -> None:
        labels = (version.model_id, str(version.number), role)
        if value:
            self._metrics.loaded.labels(*labels).set(1)
        else:
            self._metrics.loaded.remove(*labels)
