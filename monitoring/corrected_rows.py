"""Corrected rows: what the prediction log says of answers that were made from bars put right since.

The log is never rewritten. For each logged row whose features are those of bars that were held
until a correction (`pipelines.data.sources.corrections`), a row is appended: the same request,
symbol and time, the features of the bars as they are now, no scores, and the correction's id in
`corrected_by`. The newest row of a symbol and time counts, so drift sees the right features, and an
answer from wrong bars makes no loss. Of a bar that was removed nothing is left: its row has no
features either.

The drift stage does it before it judges. A run that is killed has appended a correction's rows
whole or not at all; the next one goes on.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.prediction_files import ModelFolder, write_file
from monitoring.prediction_log import read_predictions
from monitoring.prediction_rows import SCHEMA
from pipelines.data.bars import BarSeries
from pipelines.data.features import FEATURE_SETS, compute_all, is_panel
from pipelines.data.sources.corrections import Correction, CorrectionFolder
from pipelines.data.sources.segments import KEY
from pipelines.data.sources.store import BarStore
from registry.errors import TooFewSymbolsError
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles

SAME = 1e-4
"""Largest relative difference between features logged and those of the bars they were made from."""

Frames = Mapping[str, pl.DataFrame]
Key = tuple[str, datetime]
Features = dict[Key, NDArray[np.float64]]


def append_corrected(version: VersionFiles, platform: PlatformSettings) -> int:
    """Append the rows of corrections that the log knows nothing of; return how many."""
    contract = version.contract
    if not contract.interval or contract.feature_set not in FEATURE_SETS:
        return 0
    store = BarStore(platform.bars_dir)
    corrections = _corrections(store, contract.interval)
    if not corrections:
        return 0
    logged = read_predictions(platform.predictions_dir, version.model_id, number=version.number)
    told = set(logged["corrected_by"].drop_nulls())
    given = logged.filter(pl.col("corrected_by").is_null() & (pl.col("source_kind") == "bars"))
    if given.is_empty() or told.issuperset(each.id for each in corrections):
        return 0
    states = _states(store.held(contract.interval).frames, corrections)
    wanted = set(given.select("symbol", "as_of").rows())
    now, n_rows = _features(states[-1], version, wanted), 0
    for correction, (before, _) in zip(corrections, pairwise(states), strict=True):
        if correction.id not in told:
            rows = _corrected(given, correction, _features(before, version, wanted), now)
            if len(rows):
                today = datetime.now(UTC).date()
                folder = ModelFolder(platform.predictions_dir / version.model_id)
                write_file(folder.of_day(today), rows)
            n_rows += len(rows)
    return n_rows


def _corrections(store: BarStore, interval: str) -> list[Correction]:
    folder = CorrectionFolder(store.folder(interval))
    return [folder.get(correction_id) for correction_id in folder.ids()]


def _states(held: Frames, corrections: list[Correction]) -> list[Frames]:
    """Return the bars before each correction, and the bars held now."""
    states = [held]
    for correction in reversed(corrections):
        states.append(dict(_undone(states[-1], correction)))
    return states[::-1]


def _undone(held: Frames, correction: Correction) -> Iterator[tuple[str, pl.DataFrame]]:
    touched = set(correction.keys["symbol"])
    for symbol in touched | set(held):
        frame = held.get(symbol, correction.was.clear())
        if symbol in touched:
            was = correction.was.filter(pl.col("symbol") == symbol)
            kept = frame.join(correction.now, on=KEY, how="anti")
            frame = pl.concat([kept, was]).unique(KEY, keep="last").sort(KEY)
        if len(frame):
            yield symbol, frame


def _features(held: Frames, version: VersionFiles, wanted: set[Key]) -> Features:
    """Return the features of some symbols and times, from these bars."""
    feature_set = FEATURE_SETS.get(version.contract.feature_set)
    symbols = version.contract.symbols if is_panel(feature_set) else {s for s, _ in wanted}
    frames = {symbol: held[symbol] for symbol in symbols if symbol in held}
    series = [BarSeries.from_frame(symbol, frame.rechunk()) for symbol, frame in frames.items()]
    try:
        with np.errstate(all="ignore"):
            every = compute_all(feature_set, series)
    except TooFewSymbolsError:
        return {}
    return {
        (symbol, time): row
        for (symbol, frame), values in zip(frames.items(), every, strict=True)
        for time, row in zip(frame["timestamp"].to_list(), values, strict=True)
        if (symbol, time) in wanted
    }


def _corrected(
    given: pl.DataFrame, correction: Correction, before: Features, now: Features
) -> pl.DataFrame:
    """Return the rows that were made from the bars before, as the bars now make them."""
    rows = []
    for row in given.filter(pl.col("served_at") <= correction.at).iter_rows(named=True):
        key = (row["symbol"], row["as_of"])
        was, right = before.get(key), now.get(key)
        if was is None or not _is_made_from(row["features"], was):
            continue
        if right is not None and np.array_equal(was, right, equal_nan=True):
            continue
        features = None if right is None else right.tolist()
        rows.append(row | {"features": features} | _unanswered(correction))
    return pl.DataFrame(rows, schema=SCHEMA)


def _is_made_from(features: list[float], values: NDArray[np.float64]) -> bool:
    return len(features) == len(values) and np.allclose(features, values, SAME, SAME)


def _unanswered(correction: Correction) -> dict[str, object]:
    told = {"served_at": datetime.now(UTC), "corrected_by": correction.id, "latency_ms": None}
    return {"scores": None, "n_scores": None, "answer": None} | told
