"""Loading: a version's checked files -> something that answers, or one line why not.

Nothing is parsed that was not hashed (`VersionFiles.read`), nothing answers that does not
reproduce its golden rows, no version loads whose features this code would compute differently.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, FeatureSet, PanelSet, compute_all, fingerprint
from pipelines.data.tables import table_columns
from pipelines.data.texts import text_encoders
from pipelines.data.texts.text_encoders import TextEncoder
from pipelines.method.agreement import difference
from pipelines.templates import TEMPLATES, Template, over_bars
from registry import gates
from registry.backends import BACKENDS, Predictor, measure
from registry.contract import ModelContract
from registry.decoder import Decoder
from registry.errors import (
    BackendUnavailableError,
    FingerprintMismatchError,
    GoldenRowsError,
    MissingPackageError,
    ModelNotLoadedError,
)
from registry.flavors.parity import LIMITS
from registry.version_files import GOLDEN_FILE, VersionFiles
from serving.router import Option

PROBE_BARS = 64
PROBED_COLUMNS = ("open", "high", "low", "close", "volume")
GOLDEN_LIMIT = 1e-5
"""Least difference from the golden rows that refuses an artifact: another processor may add a
float32 sum in another order; a flavor with a wider parity limit gets that."""


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """One version, ready to answer.

    `options` are the artifacts that were loaded and verified, in order of preference;
    `absent` is `flavor/backend` -> why this machine cannot run it. `refusals` are the failed
    gates of the trade lock (empty where the template is no action). `context_names` are what the
    template needs besides features to decode; `used_columns` are the bar columns whose newest
    value changes features or answer. `bar_set` is the feature set of a template over bars,
    `encoder` what makes features of texts.
    """

    model_id: str
    number: int
    contract: ModelContract
    decoder: Decoder
    template: Template
    bar_set: FeatureSet | None
    encoder: TextEncoder | None
    refusals: tuple[str, ...]
    context_names: tuple[str, ...]
    used_columns: frozenset[str]
    n_bytes: int
    options: tuple[Option, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def feature_set(self) -> FeatureSet:
        """The feature set of a version over bars."""
        assert self.bar_set is not None, f"{self.model_id} is not over bars"
        return self.bar_set


def load(
    files: VersionFiles, model_id: str, number: int, *, is_measured: bool = True
) -> Iterator[LoadedVersion]:
    """Yield the version with its first verified artifact, then with one more, to the last.

    The first value answers correctly but leaves nothing to choose; take the last one unless
    somebody is waiting. An artifact is verified and measured before it is yielded, so that no
    predictor is ever called by two threads.

    Raises:
        DigestMismatchError, MissingArtifactError: a file is not what was registered.
        FingerprintMismatchError: this code computes the features differently.
        GoldenRowsError: an artifact does not reproduce the recorded scores.
        ModelNotLoadedError: this machine can run none of the version's flavors.
    """
    models = {flavor: files.read(path) for flavor, path in files.model_files().items()}
    n_bytes = sum(len(content) for content in models.values())
    features, scores = _golden(files)
    version = replace(_described(files, model_id, number), n_bytes=n_bytes)
    if version.bar_set is not None:
        version = replace(version, used_columns=_used_columns(version, scores[:1]))
    for backend, flavor in _pairs(models):
        try:
            predictor = BACKENDS.get(backend).load(flavor, models[flavor], version.contract)
        except (BackendUnavailableError, MissingPackageError, ModuleNotFoundError) as exc:
            absent = {**version.absent, f"{flavor}/{backend}": str(exc)}
            version = replace(version, absent=absent)
            continue
        _check_golden(flavor, predictor, features, scores)
        curve = measure(predictor, flavor, backend, features) if is_measured else None
        option = Option(flavor, backend, predictor, curve)
        version = replace(version, options=(*version.options, option))
        yield version
    if not version.options:
        why = "; ".join(f"{pair}: {reason}" for pair, reason in version.absent.items())
        raise ModelNotLoadedError(model_id, f"version {number} cannot run here ({why})")


def _described(files: VersionFiles, model_id: str, number: int) -> LoadedVersion:
    contract = files.contract
    template = TEMPLATES.get(contract.template)
    bar_set, context_names = None, tuple[str, ...]()
    if template.inputs == "bars":
        bar_set = FEATURE_SETS.get(contract.feature_set)
        _compare(fingerprint(bar_set), contract)
        context_names = tuple(over_bars(template).context(_waves(contract.min_history)))
    encoder = _encoder(files, contract) if template.inputs == "texts" else None
    if template.inputs == "table":
        columns = table_columns.read_columns(contract.label_spec)
        _compare(table_columns.fingerprint(columns, contract.feature_set), contract)
    refusals: tuple[str, ...] = ()
    if template.is_action:
        refusals = gates.refusals(files.record, "trade", template.name)
    return LoadedVersion(
        model_id=model_id,
        number=number,
        contract=contract,
        decoder=files.decoder,
        template=template,
        bar_set=bar_set,
        encoder=encoder,
        refusals=refusals,
        context_names=context_names,
        used_columns=frozenset(),
        n_bytes=0,
    )


def _encoder(files: VersionFiles, contract: ModelContract) -> TextEncoder:
    needed = {name: files.read(name) for name in text_encoders.files_of(contract.feature_set)}
    encoder = text_encoders.make(contract.feature_set, len(contract.feature_names), needed)
    _compare(text_encoders.fingerprint(encoder), contract)
    return encoder


def _compare(found: str, contract: ModelContract) -> None:
    """Refuse a version whose features this code computes differently."""
    if found != contract.feature_fingerprint:
        raise FingerprintMismatchError(contract.feature_set, contract.feature_fingerprint, found)


def _golden(files: VersionFiles) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    content = io.BytesIO(files.read(GOLDEN_FILE))
    with np.load(content, allow_pickle=False) as stored:
        return stored["features"], stored["scores"]


def _pairs(models: Mapping[str, bytes]) -> Sequence[tuple[str, str]]:
    """Return (backend, flavor) that this machine can run, each backend's preference first."""
    return [
        (name, flavor)
        for name in BACKENDS
        if BACKENDS.get(name).unavailable_reason() is None
        for flavor in BACKENDS.get(name).flavors
        if flavor in models
    ]


def _check_golden(
    flavor: str,
    predictor: Predictor,
    features: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    limit = max(GOLDEN_LIMIT, LIMITS[flavor])
    found = predictor(features)
    worst = difference(scores, found) if found.shape == scores.shape else float("inf")
    if not worst <= limit:
        raise GoldenRowsError(flavor, worst, limit)


def _used_columns(version: LoadedVersion, scores: NDArray[np.float32]) -> frozenset[str]:
    """Return the bar columns whose newest value changes features or answer, by trying each."""
    series = _waves(version.contract.min_history)
    before = _told(version, scores, series)
    used = set()
    for column in PROBED_COLUMNS:
        values = getattr(series, column).copy()
        values[-1] *= 0.99 if column == "low" else 1.01
        if _told(version, scores, replace(series, **{column: values})) != before:
            used.add(column)
    return frozenset(used)


def _told(
    version: LoadedVersion, scores: NDArray[np.float32], series: BarSeries
) -> tuple[str, str]:
    """Return the newest features and what the same scores are decoded to beside them, as text."""
    values = compute_all(version.feature_set, _with_companions(version, series))[0]
    features = values[-1:].astype(np.float32)
    known = over_bars(version.template).context(series)
    context = {name: values[-1:] for name, values in known.items()}
    answer = version.template.decode(
        scores, features, context, version.decoder, version.contract, version.refusals
    )
    return str(features.tolist()), str(answer)


def _with_companions(version: LoadedVersion, series: BarSeries) -> list[BarSeries]:
    """Return the series and, for a panel set, as many others as it needs."""
    feature_set = version.feature_set
    n_others = feature_set.min_symbols - 1 if isinstance(feature_set, PanelSet) else 0
    waves = _waves(len(series))
    step = np.arange(len(series))
    closes = [waves.close * np.exp(0.01 * np.sin(step * (i + 1.7))) for i in range(n_others)]
    return [series, *(replace(waves, symbol=f"PROBE{i}", close=c) for i, c in enumerate(closes))]


def _waves(n_bars: int) -> BarSeries:
    """Return bars of a gently waving price: enough to ask what a template and features use."""
    n = max(n_bars, PROBE_BARS)
    step = np.arange(n)
    close, opened = 100 + np.sin(step), 100 + np.sin(step - 0.5)
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.5
    volume, spread = 1e6 * (2 + np.sin(3 * step)), np.full(n, 1e-4)
    stamps = step.astype(np.int64) * 86_400_000_000
    return BarSeries("PROBE", stamps, opened, high, low, close, volume, close, spread)
