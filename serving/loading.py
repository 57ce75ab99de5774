"""Loading: a version's checked files -> something that answers, or one line why not.

Only hashed bytes are parsed (`VersionFiles.read`). An artifact answers only after it has reproduced
the golden rows. A version whose features this code would compute differently is refused. One whose
golden answers this code changes is loaded, and says what it changes (`registry.golden_answers`).
"""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.data.features import FeatureSet
from pipelines.data.texts.text_encoders import TextEncoder
from pipelines.method.agreement import difference
from pipelines.recipes.golden_answers import golden_answers
from pipelines.recipes.inputs import kind_of, load_definition
from pipelines.templates import TEMPLATES, Template
from pipelines.templates.answer_fields import Answer
from registry import gates
from registry.backends import BACKENDS, NEVER_ANSWERS, Backend, Predictor, measure
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import (
    BackendUnavailableError,
    GoldenRowsError,
    MissingPackageError,
    ModelNotLoadedError,
)
from registry.flavors import Artifact, parity
from registry.golden_answers import GoldenAnswers
from registry.version_files import ANSWERS_FILE, GOLDEN_FILE, VersionFiles
from serving.router import Option


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """One version, ready to answer.

    `options` are the artifacts that were loaded and verified, in order of preference;
    `absent` is `artifact/backend` -> why this machine cannot run it. `refusals` are the failed
    gates of the trade lock (empty for a template whose answers are not actions). `context_names`
    are the columns that the template needs to decode, beside the features. `used_columns` are the
    bar columns whose newest value changes features or answer. `aliases` are other names that a
    request may give to features. `features` makes model inputs of a request; the kind of input
    has loaded it. `golden` are its golden answers then and now, None where none were recorded.
    """

    model_id: str
    number: int
    contract: ModelContract
    decoder: Decoder
    template: Template
    features: Any
    refusals: tuple[str, ...]
    context_names: tuple[str, ...]
    aliases: tuple[str, ...]
    used_columns: frozenset[str]
    n_bytes: int
    golden: GoldenAnswers | None = None
    options: tuple[Option, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def feature_set(self) -> FeatureSet:
        """The feature set of a version over bars."""
        return cast(FeatureSet, self.features)

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of a version over texts."""
        return cast(TextEncoder, self.features)


def load(
    files: VersionFiles, model_id: str, number: int, *, is_measured: bool = True
) -> Iterator[LoadedVersion]:
    """Yield the version with its first verified artifact, then with one more, to the last.

    The first value answers correctly but leaves nothing to choose; take the last one unless
    somebody is waiting: it also says of every other artifact why it cannot run here. An artifact is
    verified and measured before it is yielded, so that no predictor is ever called by two threads.

    Raises:
        DigestMismatchError, MissingArtifactError: a file is not what was registered.
        FingerprintMismatchError: this code computes the features differently.
        GoldenRowsError: an artifact does not reproduce the recorded scores.
        GoldenAnswersError: this code cannot decode the golden answers at all.
        ModelNotLoadedError: this machine can run none of the version's artifacts.
    """
    features, scores = _golden(files)
    version = _described(files, model_id, number)
    version = told = replace(version, used_columns=_used_columns(version, scores[:1]))
    for backend, artifact in _pairs(files.artifacts()):
        try:
            predictor, n_bytes = _load(backend, artifact, files, version.contract)
        except (BackendUnavailableError, MissingPackageError, ModuleNotFoundError) as exc:
            absent = {**version.absent, f"{artifact}/{backend.name}": str(exc)}
            version = replace(version, absent=absent)
            continue
        _check_golden(artifact, predictor, features, scores)
        curve = measure(predictor, artifact, backend.name, features) if is_measured else None
        option = Option(artifact, backend.name, predictor, curve)
        n_bytes += version.n_bytes
        version = told = replace(version, options=(*version.options, option), n_bytes=n_bytes)
        yield version
    if not version.options:
        why = "; ".join(f"{pair}: {reason}" for pair, reason in version.absent.items())
        raise ModelNotLoadedError(model_id, f"version {number} cannot run here ({why})")
    if version is not told:
        yield version


def _described(files: VersionFiles, model_id: str, number: int) -> LoadedVersion:
    contract, definition = files.contract, load_definition(files)
    template = TEMPLATES.get(contract.template)
    refusals: tuple[str, ...] = ()
    if template.is_action:
        refusals = gates.refusals(files.record, "trade", template.name, accepted=files.accepted)
    return LoadedVersion(
        model_id=model_id,
        number=number,
        contract=contract,
        decoder=files.decoder,
        template=template,
        features=definition.features,
        refusals=refusals,
        context_names=definition.context_names,
        aliases=definition.aliases,
        used_columns=frozenset(),
        n_bytes=0,
        golden=golden_answers(files) if ANSWERS_FILE in files.digests else None,
    )


def _golden(files: VersionFiles) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    content = io.BytesIO(files.read(GOLDEN_FILE))
    with np.load(content, allow_pickle=False) as stored:
        return stored["features"], stored["scores"]


def _pairs(carried: Collection[Artifact]) -> Sequence[tuple[Backend, Artifact]]:
    """Return which backend may load which artifact, each backend's preference first.

    What is sure not to answer comes before, so that the first version yielded says so.
    """
    backends = [BACKENDS.get(name) for name in BACKENDS]
    return [
        (backend, artifact)
        for backend in sorted(backends, key=lambda backend: not backend.is_reference)
        for flavor in backend.flavors
        for artifact in sorted(carried)
        if artifact.flavor == flavor
    ]


def _load(
    backend: Backend, artifact: Artifact, files: VersionFiles, contract: ModelContract
) -> tuple[Predictor, int]:
    """Return a predictor and how many bytes it was made of.

    Raises:
        BackendUnavailableError: the backend is not here, or only verifies artifacts.
    """
    reason = NEVER_ANSWERS if backend.is_reference else backend.unavailable_reason()
    if reason:
        raise BackendUnavailableError(backend.name, reason)
    content = files.read_artifact(artifact)
    predictor = backend.load(artifact, content, contract)
    return predictor, sum(map(len, content.values()))


def _check_golden(
    artifact: Artifact,
    predictor: Predictor,
    features: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    highest = parity.limit(artifact, parity.EXTREMES)  # golden rows may be extreme ones
    limit = max(gates.GOLDEN_LIMIT, highest)
    worst = difference(scores, predictor(features))
    if not worst <= limit:
        raise GoldenRowsError(str(artifact), worst, limit)


def _used_columns(version: LoadedVersion, scores: NDArray[np.float32]) -> frozenset[str]:
    """Return the bar columns whose newest value changes the features or the answer."""

    def answer(
        features: NDArray[np.float32], context: Mapping[str, NDArray[np.float64]]
    ) -> Sequence[Answer]:
        return version.template.decode(
            scores, features, context, version.decoder, version.contract, version.refusals
        )

    template = version.template
    return kind_of(template).used_columns(template, version.contract, version.features, answer)
