"""Scoring: slices of rows through one version on all cores, in order, in bounded memory.

Each thread has a predictor of its own, because a predictor is called by one thread at a time. As
many slices wait or run as keep the threads busy, so memory depends on the size of a slice and not
on the number of rows.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from time import thread_time
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.recipes.answering import ROW, AnsweredRows, Answerer, Predict
from pipelines.recipes.inputs import load_definition
from pipelines.recipes.inputs.frames import FrameInputs
from pipelines.recipes.scored_rows import Slice
from pipelines.templates import TEMPLATES
from registry.backends import BACKENDS
from registry.contract import ModelContract
from registry.errors import (
    MissingArtifactError,
    MissingPackageError,
    UnsupportedModelError,
)
from registry.flavors import Artifact
from registry.flavors.native import NATIVE
from registry.flavors.onnx import ONNX
from registry.gates import refusals
from registry.version_files import VersionFiles

T = TypeVar("T")

SLICE_ROWS = 32_768
PART_ROWS = 8 * SLICE_ROWS
"""Rows of one part of a result: what a killed run may have to answer again."""
SLICE_SCORES = 1 << 22
"""Scores of one slice, 16 MB: thousands of scenarios make the slices shorter."""
TRIED_ROWS, TRIES = 4096, 3
RUNS = (ONNX, NATIVE)
"""What may answer, on the processor; the fastest does."""


def widest_slice(contract: ModelContract) -> int:
    """Return the most rows whose scores are held at once."""
    return max(1, SLICE_SCORES // (contract.outputs.shape[1] or 1))


def load_answerer(files: VersionFiles) -> Answerer:
    """Return a version's answerer without a model; see `with_model`.

    Raises:
        ArtifactError: a file is not what was registered.
        FingerprintMismatchError: this code computes other features than the version's.
    """
    contract, definition = files.contract, load_definition(files)
    template = TEMPLATES.get(contract.template)
    shut: tuple[str, ...] = ()
    if template.is_action:
        shut = refusals(files.record, "trade", template.name, accepted=files.accepted)
    return Answerer(contract, template, files.decoder, definition, shut, _no_model)


def fastest(files: VersionFiles, answerer: Answerer, first: Slice) -> Artifact:
    """Return the artifact that answers the first rows fastest here.

    Raises:
        MissingArtifactError: this machine runs none of them.
    """
    taken: dict[Artifact, float] = {}
    X = _tried(answerer, first.rows)
    for artifact in RUNS:
        if artifact in files.artifacts():
            with suppress(MissingPackageError, ModuleNotFoundError, UnsupportedModelError):
                taken[artifact] = _seconds(_model(files, artifact), X)
    if not taken:
        known = ", ".join(str(artifact) for artifact in RUNS)
        raise MissingArtifactError(f"{files.model_id}/{files.number}", f"none of {known} runs here")
    return min(taken, key=lambda artifact: taken[artifact])


def with_model(files: VersionFiles, answerer: Answerer, artifact: Artifact) -> Answerer:
    """Return the answerer with a model of its own."""
    return replace(answerer, predict=_model(files, artifact))


def answered(
    slices: Iterator[Slice],
    answerers: Sequence[Answerer],
    observe: Callable[[AnsweredRows], T],
) -> Iterator[T]:
    """Yield what `observe` makes of each slice's answers, in order.

    An answerer is used by one thread at a time; `observe` is called in the same thread.
    """
    free: SimpleQueue[Answerer] = SimpleQueue()
    for answerer in answerers:
        free.put(answerer)

    def work(part: Slice) -> T:
        answerer = free.get()
        try:
            return observe(answers_of(part, answerer))
        finally:
            free.put(answerer)

    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(len(answerers), thread_name_prefix="score") as pool:
        for part in slices:
            waiting.append(pool.submit(work, part))
            if len(waiting) > 2 * len(answerers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def answers_of(part: Slice, answerer: Answerer) -> AnsweredRows:
    """Return the answers of a slice behind the columns that they repeat."""
    rows = part.rows
    found = answerer.of_inputs(answerer.inputs(rows) if isinstance(rows, pl.DataFrame) else rows)
    ours = found.answers.drop(part.kept.columns, strict=False)
    return replace(found, answers=pl.concat([part.kept, ours], how="horizontal"))


def numbered(answers: pl.DataFrame, first_row: int) -> pl.DataFrame:
    """Return answers behind the numbers of their rows."""
    return answers.with_row_index(ROW, offset=first_row).with_columns(pl.col(ROW).cast(pl.Int64))


def n_threads() -> int:
    """Return the number of cores that this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _model(files: VersionFiles, artifact: Artifact) -> Predict:
    return BACKENDS.get("cpu").load(artifact, files.read_artifact(artifact), files.contract)


def _tried(answerer: Answerer, rows: pl.DataFrame | FrameInputs) -> NDArray[np.float32]:
    """Return the inputs that artifacts are compared by."""
    if isinstance(rows, FrameInputs):
        return rows.X[:TRIED_ROWS]
    few = rows.head(TRIED_ROWS)
    return answerer.kind.frame_inputs(answerer.contract, answerer.definition, few).X


def _seconds(predict: Predict, X: NDArray[np.float32]) -> float:
    """Return the processor time for some rows, which other processes do not lengthen."""
    predict(X[:1])  # makes things
    taken = []
    for _ in range(TRIES):
        began = thread_time()
        predict(X)
        taken.append(thread_time() - began)
    return min(taken)


def _no_model(_: NDArray[np.float32]) -> NDArray[np.float32]:
    raise MissingArtifactError("model", "none was loaded")
