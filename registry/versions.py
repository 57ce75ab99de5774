"""Versions: register, look up, promote, roll back, delete. The front door of the registry.

A version lives in two places: MLflow holds the files and the alias, the engine database what
MLflow has no place for: digests, the gate record, whether it may trade, and the history. What is
only in MLflow (somebody registered it there) is not a version of this engine and never serves.

Looking up needs the engine database alone and works while MLflow is down; moving an alias needs
both. Laws: numbers come from MLflow and never repeat; `get(m, n)` returns what `register`
returned, for ever, and beside it what was measured later; of two promotions at once one wins and
the other is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from registry import (
    acceptances,
    alias_rows,
    deployments,
    events,
    golden_answers,
    managed_models,
    mlflow_versions,
    outside_moves,
    promotion,
    tables,
    version_rows,
)
from registry.alias_rows import PRODUCTION, STAGING, AliasState
from registry.artifacts import ArtifactCache
from registry.contract import Json, ModelContract
from registry.deployments import Deployment
from registry.errors import (
    GateRefusedError,
    ModelArchivedError,
    NoPreviousVersionError,
    NotFoundError,
    NothingToAcceptError,
    NothingToWithdrawError,
    ParameterError,
    PromotionConflictError,
    UnmeasuredArtifactError,
    VersionExistsError,
    VersionInUseError,
)
from registry.gates import GateRow, Record, unmeasured_artifacts
from registry.golden_answers import AnswerChange, AnswerCheck, GoldenAnswers
from registry.managed_models import ManagedModel
from registry.model_store import ModelStore, VersionContent
from registry.pairing import Pair
from registry.promotion import Move
from registry.settings import PlatformSettings
from registry.version_card import describe, version_tags
from registry.version_files import artifacts, digest_directory
from registry.version_rows import Version

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


def check_model_id(model_id: str) -> None:
    """Refuse a model name that cannot be a folder and a registry name.

    Raises:
        ParameterError: not 1 to 200 letters, digits, '_' and '-', the first no sign.
    """
    if not NAME.fullmatch(model_id):
        shown = model_id if len(model_id) <= 200 else f"{model_id[:40]}... ({len(model_id)} long)"
        raise ParameterError("model_name", shown, "1 to 200 letters, digits, '_' and '-'")


@dataclass(frozen=True, slots=True)
class Look:
    """The aliases of every registered model, from one look at MLflow.

    `states` are those of `production`; `aliases` are alias -> number as MLflow has them.
    """

    states: Mapping[str, AliasState]
    aliases: Mapping[str, Mapping[str, int]]


class Registry:
    """The registry of one installation: its MLflow and its engine database."""

    def __init__(self, settings: PlatformSettings, engine: sa.Engine) -> None:
        self._engine = engine
        self._store = ModelStore(settings.mlflow_tracking_uri)
        self._pair = Pair(engine, self._store)
        self._answers = AnswerCheck(settings, engine)
        self._cache = ArtifactCache(settings, engine)

    def check_pair(self) -> None:
        """Refuse to work with an MLflow that is not this engine database's.

        Raises:
            PairMismatchError: they are no pair, in one line that says what to do.
            RegistryUnavailableError: MLflow does not answer.
        """
        self._store.probe()  # MLflow itself retries for minutes
        self._pair.check()

    def pair_again(self, *, actor: str, reason: str) -> bool:
        """Make a pair of the engine database and MLflow; False where they are one.

        Raises:
            RegistryUnavailableError: MLflow does not answer.
        """
        self._store.probe()
        return self._pair.renew(actor=actor, reason=reason)

    def check_numbers(self, model_id: str) -> None:
        """Refuse to fit a version that could not be registered.

        Raises:
            NumbersRestartError: the registered model was deleted in MLflow.
            RegistryUnavailableError: MLflow does not answer.
        """
        mlflow_versions.check_numbers(self._engine, self._store, model_id)

    def register(
        self,
        directory: Path,
        contract: ModelContract,
        record: Record,
        run_id: str,
        context_names: Sequence[str] = (),
        digests: Mapping[str, str] | None = None,
    ) -> Version:
        """Register all files of a directory as a new version; the directory is not changed.

        A version is registered whether its locks are open or shut: a refused candidate stays
        visible, with its reasons.

        Args:
            record: every gate row; contract and record are written beside the files.
            run_id: the MLflow run that made the version.
            context_names: the template's context, offered as optional pyfunc input columns.
            digests: relative path -> SHA-256 of every file, where the caller has read them all
                already; what is stored must agree with them ever after.

        Raises:
            ParameterError: a model name that cannot be a folder and a registry name.
            UnmeasuredArtifactError: a file of an artifact that the record calls not applicable.
            RunNotFoundError, RegistryUnavailableError, ForeignTrackingError: see `ModelStore`.
            PairMismatchError, NumbersRestartError: as `check_pair`, `check_numbers`.
            VersionExistsError: the number was given before; MLflow's new version is removed again.
        """
        check_model_id(contract.model_id)
        self.check_pair()
        self.check_numbers(contract.model_id)
        read = digest_directory(directory) if digests is None else digests
        carried = tuple(artifacts(read))
        for artifact, note in unmeasured_artifacts(record, carried).items():
            raise UnmeasuredArtifactError(str(artifact), note)
        content = VersionContent(directory, read, contract, record, run_id, tuple(context_names))
        tags = version_tags(contract, record, carried)
        description = describe(contract, record, carried)
        stored = self._store.log_version(content, tags, description)
        may_trade = tags["may_trade"] == "true"
        version = Version(
            contract.model_id,
            stored.number,
            run_id,
            contract,
            stored.digests,
            tuple(record),
            may_trade,
            datetime.now(UTC),
        )
        try:
            version_rows.record(self._engine, version)
        except VersionExistsError:
            self._store.delete_version(contract.model_id, stored.number)
            raise
        return version

    def lost(self, model_id: str) -> dict[int, str]:
        """Return number -> why serving could not fetch it, of versions that MLflow has not got.

        Raises:
            PairMismatchError, RegistryUnavailableError: as `check_pair`.
        """
        self.check_pair()
        return mlflow_versions.lost(self.list_versions(model_id), self._store.find_model(model_id))

    def get(self, model_id: str, number: int) -> Version:
        """Return a version.

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: the model has no such version.
        """
        return version_rows.get(self._engine, model_id, number)

    def list_versions(self, model_id: str) -> list[Version]:
        """Return the model's versions, oldest first; none of a model that was only created.

        Raises:
            ModelNotFoundError: no such model.
        """
        return version_rows.list_versions(self._engine, model_id)

    def model_ids(self) -> list[str]:
        """Return the registered models' names in alphabetical order."""
        return version_rows.model_ids(self._engine)

    def aliases(self, model_id: str) -> dict[str, int]:
        """Return alias -> version number as MLflow has them now.

        Raises:
            RegistryUnavailableError: MLflow does not answer.
        """
        return self._store.aliases(model_id)

    def find_deployment(self, model_id: str) -> Deployment | None:
        """Return the deployment that serves the model, None when nothing was promoted yet."""
        return deployments.find_open(self._engine, model_id)

    def alias_state(self, model_id: str, alias: str = PRODUCTION) -> AliasState:
        """Return the state of the alias in the engine database, without asking MLflow."""
        return alias_rows.find(self._engine, model_id, alias)

    def resolve_alias(self, model_id: str, alias: str = PRODUCTION) -> AliasState:
        """Return the version to serve under an alias, following MLflow where that is allowed.

        An alias moved outside of this engine (in the MLflow UI) appends `alias_moved_outside`,
        once per move. It is followed when the version's record passes the serve lock; otherwise
        the state's `number` stays what it was, `outside` and `refusals` say what was refused.

        Raises:
            RegistryUnavailableError: MLflow does not answer.
        """
        self._pair.check()
        judge = partial(self._why_not, alias)
        return outside_moves.observe(self._engine, self._store, model_id, alias, judge)

    def look(self) -> Look:
        """Return where the aliases of all models stand: `resolve_alias` of each, in one look.

        Raises:
            RegistryUnavailableError: MLflow does not answer.
        """
        self._pair.check()
        pointed = self._store.all_aliases()
        judge, model_ids = partial(self._why_not, PRODUCTION), self.model_ids()
        states = outside_moves.observe_all(
            self._engine, self._store, model_ids, PRODUCTION, pointed, judge
        )
        return Look(states, {m: pointed.get(m, {}) for m in model_ids})

    def set_alias_staging(
        self,
        model_id: str,
        number: int,
        *,
        actor: str = "main",
        reason: str = "newest candidate",
        run_id: str | None = None,
    ) -> Version:
        """Point `staging` at a version; no gate guards it, it is where candidates wait.

        Raises:
            GateRefusedError: this code changes the version's golden answers.
            NotFoundError, RegistryUnavailableError: as `get`; MLflow does not answer.
        """
        version = self.get(model_id, number)
        self.check_pair()
        mlflow_versions.check_same(self._engine, self._store, version)
        if lines := self._answers.refusals(version):
            raise GateRefusedError(model_id, number, "serve", lines)
        move = Move(model_id, STAGING, number, actor, reason, run_id, done="staged")
        promotion.set_freely(self._engine, self._store, move)
        return version

    def promote(
        self,
        model_id: str,
        number: int,
        *,
        actor: str,
        reason: str,
        alias: str = PRODUCTION,
        expected_generation: int | None = None,
        run_id: str | None = None,
    ) -> Version:
        """Move an alias to a version whose serve lock is open.

        Where another version serves, or was withdrawn last, the record must hold a comparison
        with that version. A version that serves already is returned as it is. A refusal appends
        `promotion_refused`.

        Args:
            expected_generation: the alias's generation that the caller decided on (from
                `alias_state`); None takes the one found now.
            run_id: the run that holds the evidence.

        Raises:
            GateRefusedError: the serve lock is shut, or this code changes the golden answers; each
                gate with its value and limit.
            PromotionConflictError: the alias moved since, or another promotion is under way.
            ModelArchivedError: the model is archived.
            NotFoundError: as `get`.
            RegistryUnavailableError: MLflow does not answer. When it stopped answering in the
                middle, the promotion stays pending until `reconcile`.
        """
        version = self.get(model_id, number)
        found = self._settled(model_id, alias, expected_generation)
        if found.number == number and found.outside is None and not found.refusals:
            return version
        move = Move(model_id, alias, number, actor, reason, run_id)
        champion = self._champion(found)
        lines = () if found.number == number else self._answers.refusals(version)
        self._check_serve_lock(version, move, None if champion == number else champion, lines)
        return self._move(version, move, found.generation)

    def roll_back(
        self, model_id: str, *, actor: str, reason: str, expected_generation: int | None = None
    ) -> Version:
        """Return `production` to the champion before the present one.

        Versions that were themselves rolled back, withdrawn or deleted are passed over.

        Raises:
            NoPreviousVersionError: there is none.
            GateRefusedError: its serve lock is shut under today's limits, or this code changes its
                golden answers.
            PromotionConflictError, RegistryUnavailableError: as `promote`.
        """
        found = self._settled(model_id, PRODUCTION, expected_generation)
        known = {version.number: version for version in self.list_versions(model_id)}
        earlier = deployments.earlier_champions(self._engine, model_id)
        usable = (known[n] for n in earlier if n != found.number and n in known)
        version = next((v for v in usable if self._is_same(v)), None)
        if version is None:
            raise NoPreviousVersionError(model_id)
        move = Move(
            model_id, PRODUCTION, version.number, actor, reason, None, "rolling_back", "rolled_back"
        )
        self._check_serve_lock(version, move, None, self._answers.refusals(version))
        return self._move(version, move, found.generation)

    def withdraw(
        self,
        model_id: str,
        *,
        actor: str,
        reason: str,
        alias: str = PRODUCTION,
        expected_generation: int | None = None,
    ) -> int | None:
        """Take an alias away and return the version that it named; nothing serves under it then.

        Raises:
            NothingToWithdrawError: the alias names no version.
            PromotionConflictError, RegistryUnavailableError: as `promote`.
        """
        found = self._settled(model_id, alias, expected_generation)
        if found.number is None and found.outside is None:
            raise NothingToWithdrawError(model_id, alias)
        move = Move(
            *(model_id, alias, None, actor, reason, None, "withdrawing", "withdrawn"), found.number
        )
        claimed = promotion.begin(self._engine, move, found.generation)
        promotion.finish(self._engine, self._store, move, claimed)
        return found.number

    def delete(self, model_id: str, number: int, *, actor: str, reason: str) -> None:
        """Delete a version that no alias points at; its record stays in the event log.

        Raises:
            VersionInUseError: an alias points at it.
            NotFoundError, RegistryUnavailableError: as `get`; MLflow does not answer.
        """
        version = self.get(model_id, number)
        self.check_pair()
        is_there = self._is_same(version)
        with self._engine.begin() as connection:
            using = self._aliases_using(connection, model_id, number)
            if using:
                raise VersionInUseError(model_id, number, using)
            if is_there:  # else the number is of somebody's version there
                self._store.delete_version(model_id, number)
            version_rows.remove(connection, version, actor, reason)

    def accept_implausible(
        self, model_id: str, number: int, *, actor: str, reason: str
    ) -> tuple[GateRow, ...]:
        """Accept what of a version is too good to be true, in a person's name; return its rows.

        Raises:
            ParameterError: the actor is no person, or there is no reason.
            NothingImplausibleError: nothing about the version is too good to be true.
            NotFoundError: as `get`.
        """
        version = self.get(model_id, number)
        which, rows = (model_id, number, version.run_id), version.implausible()
        with self._engine.begin() as connection:
            made = acceptances.accept(connection, which, rows, actor=actor, reason=reason)
            opened = replace(version, acceptances=(*version.acceptances, made))
            version_rows.set_may_trade(connection, opened)
        return rows

    def check_exists(self, model_id: str) -> None:
        """Refuse a name that no version has and that nobody created.

        Raises:
            ModelNotFoundError: no such model.
        """
        managed_models.check_exists(self._engine, model_id)

    def archive(self, model_id: str, *, actor: str, reason: str) -> ManagedModel:
        """Archive a model that nothing but `staging` names; `managed_models.restore` undoes it.

        Raises:
            ModelNotFoundError: no such model.
            ModelInUseError: an alias or an open deployment names it; withdraw it first.
            RegistryUnavailableError: MLflow does not answer.
        """
        self.check_exists(model_id)
        self.check_pair()
        named = self._store.aliases(model_id)
        return managed_models.archive(self._engine, model_id, named, actor=actor, reason=reason)

    def unaccepted_answers(
        self, model_id: str, number: int, golden: GoldenAnswers
    ) -> tuple[AnswerChange, ...]:
        """Return what this code changes in a version's golden answers and nobody has accepted."""
        return golden_answers.unaccepted(self._engine, model_id, number, golden)

    def accept_answers(
        self, model_id: str, number: int, *, actor: str, reason: str
    ) -> tuple[AnswerChange, ...]:
        """Stand for the answers that this code gives for a version; return what they change.

        Serving then stops calling itself degraded for it, and aliases may move to it again.

        Raises:
            NotFoundError: as `get`.
            NothingToAcceptError: no golden answers were recorded, or this code changes none.
            ArtifactError: its files are not what was registered, or this code cannot answer.
            RegistryUnavailableError, ArtifactStoreUnavailableError: they cannot be fetched.
        """
        version = self.get(model_id, number)
        golden = self._answers.golden(version)
        if golden is None:
            raise NothingToAcceptError(model_id, number, golden_answers.NOT_RECORDED)
        return golden_answers.accept(self._engine, version, golden, actor=actor, reason=reason)

    def note_study(
        self, model_id: str, number: int, study: str, facts: Mapping[str, Json], run_id: str
    ) -> None:
        """Say which study chose a version: a tag in MLflow, and the event `deployed_from_study`.

        Args:
            facts: the scores that it was chosen by.
            run_id: the run of the command that registered it.

        Raises:
            NotFoundError, RegistryUnavailableError: as `get`; MLflow does not answer.
        """
        self.get(model_id, number)
        self.check_pair()
        self._store.tag(model_id, number, "study", study)
        with self._engine.begin() as connection:
            events.append(
                connection,
                "deployed_from_study",
                actor="tune",
                reason=f"winner of study {study}",
                model_id=model_id,
                number=number,
                run_id=run_id,
                facts={"study": study, **facts},
            )

    def reconcile(self) -> list[tuple[str, str]]:
        """Finish the history of every move whose process died; serving calls it at every look.

        A move younger than `promotion.UNSETTLED_AFTER` is still running and left alone.

        Returns:
            (model_id, alias) of each move that was settled. Asks MLflow only if there is one.

        Raises:
            RegistryUnavailableError: there is one and MLflow does not answer.
        """
        waiting = promotion.abandoned(self._engine)
        if waiting:
            self.check_pair()
        return [w for w in waiting if promotion.settle(self._engine, self._store, *w)]

    def _settled(self, model_id: str, alias: str, expected_generation: int | None) -> AliasState:
        """Return where an alias stands, with no move under way.

        Raises:
            PromotionConflictError: a move is under way, or another generation was expected.
        """
        self.check_pair()
        if (model_id, alias) in promotion.abandoned(self._engine):
            promotion.settle(self._engine, self._store, model_id, alias)
        found = self.resolve_alias(model_id, alias)
        wanted = found.generation if expected_generation is None else expected_generation
        if found.pending is not None or found.generation != wanted:
            raise PromotionConflictError(model_id, alias, wanted)
        return found

    def champion(self, model_id: str) -> int | None:
        """Return the version that a new one must be compared with, None where there is none.

        It serves, or was withdrawn last.
        """
        return self._champion(self.alias_state(model_id))

    def _champion(self, found: AliasState) -> int | None:
        if found.number is not None or found.alias != PRODUCTION:
            return found.number
        registered = version_rows.numbers(self._engine, found.model_id)
        return deployments.withdrawn_champion(self._engine, found.model_id, registered)

    def _move(self, version: Version, move: Move, generation: int) -> Version:
        """Move an alias to a version whose files are those that were registered."""
        mlflow_versions.check_same(self._engine, self._store, version)
        self._cache.check(version.model_id, version.number)
        claimed = promotion.begin(self._engine, move, generation)
        promotion.finish(self._engine, self._store, move, claimed)
        return version

    def _is_same(self, version: Version) -> bool:
        """Return whether MLflow has the version, of the run that is recorded here."""
        return self._store.find_run(version.model_id, version.number) == version.run_id

    def _check_serve_lock(
        self, version: Version, move: Move, champion: int | None, answers: Sequence[str]
    ) -> None:
        lines = (*version.refusals("serve", champion), *answers)
        if not lines:
            return
        with self._engine.begin() as connection:
            events.append(
                connection,
                "promotion_refused",
                actor=move.actor,
                reason=move.reason,
                model_id=version.model_id,
                number=version.number,
                run_id=move.run_id,
                facts={"alias": move.alias, "refusals": list(lines)},
            )
        raise GateRefusedError(version.model_id, version.number, "serve", lines)

    def _why_not(self, alias: str, model_id: str, number: int) -> tuple[str, ...]:
        try:
            version = self.get(model_id, number)
        except NotFoundError:
            return (f"digests: version {number} was not registered by this engine",)
        if not self._is_same(version):
            return (f"digests: version {number} in MLflow is not the one that was registered",)
        if alias == STAGING:
            return self._answers.refusals(version)
        if managed_models.is_archived(self._engine, model_id):
            return (str(ModelArchivedError(model_id)),)
        return (*version.refusals("serve"), *self._answers.refusals(version))

    def _aliases_using(self, connection: sa.Connection, model_id: str, number: int) -> set[str]:
        table = tables.aliases
        points = (table.c.number == number) | (table.c.pending == number)
        query = sa.select(table.c.alias).where(table.c.model_id == model_id, points)
        in_mlflow = {a for a, n in self._store.aliases(model_id).items() if n == number}
        return in_mlflow | set(connection.scalars(query))
