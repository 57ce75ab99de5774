"""Follower: serves the versions that the registry's `production` aliases name.

One thread. First it loads what was served last from the local cache, without asking MLflow. Then it
looks at the aliases every `ALIAS_POLL_INTERVAL`. `registry.versions` decides whether a moved alias
may be followed. When a version does not load, the one before it goes on serving, and the reason
shows in /models, in an event and in a counter.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import sqlalchemy as sa
import structlog

from registry import events, managed_models
from registry.alias_rows import PRODUCTION, AliasState
from registry.artifacts import ArtifactCache
from registry.database import AWAY, cause_of
from registry.errors import (
    ArtifactStoreUnavailableError,
    MLEngineError,
    RegistryUnavailableError,
    UnavailableError,
)
from registry.golden_answers import said_of
from registry.model_store import ModelStore
from registry.versions import Registry
from serving.dependencies import masked
from serving.loading import LoadedVersion, load
from serving.metrics import Metrics
from serving.models import Models
from serving.settings import ServingSettings

RETRY_SECONDS = 60.0
"""Pause before a version that failed to load is tried again."""
STORE_RETRY_SECONDS = 5.0
"""The same where only the store of its files was away."""

log = structlog.get_logger("serving.follower")


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """Whether the registry answered the last look; `is_reachable` is None before the first."""

    is_reachable: bool | None = None
    detail: str = "not asked yet"
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stores:
    """Where versions are recorded and where their files are."""

    registry: Registry
    store: ModelStore
    cache: ArtifactCache
    database: sa.Engine


class Follower:
    """The thread that follows. `start` once, `close` once."""

    def __init__(
        self,
        stores: Stores,
        models: Models,
        metrics: Metrics,
        settings: ServingSettings,
    ) -> None:
        self._registry, self._cache = stores.registry, stores.cache
        self._database, self._store = stores.database, stores.store
        self._models, self._metrics, self._settings = models, metrics, settings
        self._failed: dict[tuple[str, int], float] = {}  # (model, number) -> when to try again
        self._remembered: Mapping[str, Mapping[str, int]] = {}
        self._ready, self._stop = threading.Event(), threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.registry_status = RegistryStatus()

    @property
    def is_ready(self) -> bool:
        """Whether everything that was served last answers again, except what cannot be loaded."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look now instead of after the poll interval; returns at once."""
        self._wake.set()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Stop; a look that hangs is left behind after the time-out (the thread is a daemon)."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        try:
            unfinished = self._restore()
        except Exception:  # a damaged cache must not keep the process from serving
            log.exception("nothing restored")
            unfinished = []
        self._ready.set()
        self._guarded(lambda: self._finish(unfinished))
        while True:
            self._wake.clear()  # before the question whether to stop, which wakes too
            if self._stop.is_set():
                return
            self._guarded(self._follow_aliases)
            self._wake.wait(self._settings.alias_poll_interval)

    # At start: what was served last, from the cache --------------------------------------------

    def _restore(self) -> list[tuple[str, int]]:
        """Serve the last known versions with one unmeasured artifact each; return which.

        Somebody waits for the answer: the other artifacts and the latency curves come after it.
        """
        self._remembered = self._cache.last_known_aliases()
        if not self._remembered:
            return []
        archived = managed_models.archived(self._database)
        self._models.learn(self._remembered, archived)
        unfinished = []
        for model_id, aliases in self._remembered.items():
            recorded = self._registry.alias_state(model_id)
            is_withdrawn = recorded.number is None and recorded.generation > 0
            if is_withdrawn or model_id in archived:
                continue
            for number in dict.fromkeys((recorded.number, aliases.get(PRODUCTION))):
                if number is None:
                    continue
                versions = self._loads(model_id, number, is_measured=False)
                if self._take(model_id, number, versions, only_first=True):
                    unfinished.append((model_id, number))
                    break
        return unfinished

    def _finish(self, unfinished: Iterable[tuple[str, int]]) -> None:
        for model_id, number in unfinished:
            self._take(model_id, number, self._loads(model_id, number))

    # From then on: what the aliases say --------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a part of the work; the thread lives on whatever happens, and the state says what."""
        try:
            work()
        except (UnavailableError, sa.exc.SQLAlchemyError) as error:
            self._metrics.poll_failures.inc()
            self._set_status(False, str(error).splitlines()[0])
        except Exception as error:
            self._metrics.poll_failures.inc()
            log.exception("look failed")
            self._set_status(False, f"{type(error).__name__}: {str(error)[:200]}")

    def _follow_aliases(self) -> None:
        self._store.probe()  # fails at once, without importing MLflow
        self._registry.reconcile()
        look, managed = self._registry.look(), managed_models.list_models(self._database)
        self._set_status(True, self._store.uri)
        known: dict[str, dict[str, int]] = {m: {} for m in managed}
        known |= {m: _known(look.aliases[m], state.number) for m, state in look.states.items()}
        archived = frozenset(m for m, model in managed.items() if model.archived_at is not None)
        self._models.learn(known, archived)
        serving = self._models.production()
        for model_id in look.states.keys() - archived:
            self._follow(model_id, look.states[model_id], serving.get(model_id))
        self._ask_who_accepted()
        self._remember(look.aliases)

    def _ask_who_accepted(self) -> None:
        """Read from the history whether somebody accepted what this code changes in answers."""
        for model_id, version in self._models.production().items():
            if version.golden is not None and version.golden.changes:
                found = self._registry.unaccepted_answers(model_id, version.number, version.golden)
                self._models.set_changed_answers(model_id, version.number, found)

    def _set_status(self, is_reachable: bool, detail: str) -> None:
        if self.registry_status.is_reachable is not is_reachable:
            say = log.info if is_reachable else log.warning
            say(
                "registry answers" if is_reachable else "registry does not answer",
                detail=masked(detail),
            )
        self.registry_status = RegistryStatus(is_reachable, detail, datetime.now(UTC))

    def _follow(self, model_id: str, state: AliasState, serving: LoadedVersion | None) -> None:
        number = state.number
        if number is None:
            self._models.withdraw(model_id, _no_version(state), is_fault=bool(state.refusals))
            return
        if serving is None or serving.number != number:
            if self._failed.get((model_id, number), 0.0) > monotonic():
                return
            if not self._take(model_id, number, self._loads(model_id, number)):
                return
        if state.refusals:
            self._models.set_problem(model_id, _not_followed(state), state.outside)
        else:
            self._models.clear_problem(model_id)

    def _loads(
        self, model_id: str, number: int, is_measured: bool = True
    ) -> Iterator[LoadedVersion]:
        files = self._cache.fetch(model_id, number)
        is_measured = is_measured and self._settings.auto_hardware_routing
        yield from load(files, model_id, number, is_measured=is_measured)

    def _take(
        self,
        model_id: str,
        number: int,
        versions: Iterator[LoadedVersion],
        only_first: bool = False,
    ) -> bool:
        """Serve what loads; return whether it did.

        Nothing waits for a model that answers already, so it is replaced by the whole version;
        a model that does not answer yet gets each artifact as soon as it is verified.
        """
        serving = self._models.production().get(model_id)
        is_replacing = serving is not None and serving.number != number
        try:
            for version in versions:
                last = version
                if not is_replacing:
                    self._models.serve(version)
                if only_first:
                    return True
            if is_replacing:
                self._models.serve(last)
        except RegistryUnavailableError as error:  # tried again as soon as it answers
            self._fail(model_id, number, str(error), pause_seconds=0.0)
            return False
        except ArtifactStoreUnavailableError as error:  # which no look asks, so this asks again
            self._fail(model_id, number, str(error), pause_seconds=STORE_RETRY_SECONDS)
            return False
        except AWAY as error:  # nor of the database, which says what the files must be
            self._fail(model_id, number, cause_of(error), pause_seconds=0.0)
            return False
        except MLEngineError as error:
            self._fail(model_id, number, str(error))
            return False
        except Exception as error:  # one version must not stop the others; it is reported
            log.exception("load failed", model=model_id, version=number)
            self._fail(model_id, number, f"{type(error).__name__}: {str(error)[:200]}")
            return False
        self._failed.pop((model_id, number), None)
        log.info("serving", model=model_id, version=number, answers=said_of(last.golden))
        return True

    def _fail(
        self, model_id: str, number: int, reason: str, pause_seconds: float = RETRY_SECONDS
    ) -> None:
        self._failed[(model_id, number)] = monotonic() + pause_seconds
        self._metrics.load_failures.labels(model_id).inc()
        serving = self._models.production().get(model_id)
        kept = f"; version {serving.number} goes on serving" if serving else ""
        is_news = self._models.set_problem(model_id, f"version {number}: {reason}{kept}", number)
        if not is_news:
            return
        log.error("version not loaded", model=model_id, version=number, reason=reason)
        try:
            with self._database.begin() as connection:
                events.append(
                    connection,
                    "load_failed",
                    actor="serving",
                    reason=reason,
                    model_id=model_id,
                    number=number,
                )
        except AWAY as error:
            log.warning("event not written", error=cause_of(error))

    def _remember(self, aliases: Mapping[str, Mapping[str, int]]) -> None:
        """Keep the aliases with the versions that really serve, for the next start."""
        serving = self._models.production()
        known = {
            m: _known(found, serving[m].number if m in serving else None)
            for m, found in aliases.items()
        }
        if known != self._remembered:
            self._cache.remember_aliases(known)
            self._remembered = known


def _known(aliases: Mapping[str, int], production: int | None) -> dict[str, int]:
    others = {alias: number for alias, number in aliases.items() if alias != PRODUCTION}
    return others if production is None else others | {PRODUCTION: production}


def _no_version(state: AliasState) -> str:
    if state.refusals:
        return _not_followed(state)
    return "no version has the alias production; promote one"


def _not_followed(state: AliasState) -> str:
    reasons = "; ".join(state.refusals)
    if state.outside is None:
        return f"{reasons}; version {state.number} goes on serving until one is promoted"
    return (
        f"the alias production was moved outside of this engine to version {state.outside}, "
        f"which its serve lock refuses: {reasons}"
    )
