"""A transformer that the user has, as it is: a folder with config, weights and tokenizer.

FinBERT's, for example. Nothing is trained here. The folder's sequence classifier is exported with
`torch.export`: token numbers in, three logits out, in the order negative, neutral, positive, which
its own `id2label` gives. Its tokenizer travels with the version. Only calibration changes its
answers, on the user's labelled texts. Nothing is ever downloaded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.architectures import (
    QUIET,
    Architecture,
    Estimator,
    FitContext,
    Loss,
    Objective,
    TrainingRows,
    check_rows,
)
from pipelines.architectures.hyperparameters import resolve
from pipelines.architectures.spaces import SPACES
from pipelines.data.texts.text_encoders import TOKENIZER_FILE, padding_number
from registry.contract import Json
from registry.errors import FitError, MissingPackageError, ParameterError, ShapeError
from registry.flavors import NativeModel

if TYPE_CHECKING:
    from torch import nn

CLASSES = ("negative", "neutral", "positive")
CONFIG_FILE = "config.json"
BATCH_ROWS = 32


class PretrainedEstimator(Estimator):
    """Logits (n, 3) of token numbers (n, max_tokens)."""

    n_scores = len(CLASSES)

    def __init__(self, module: "nn.Module", n_tokens: int) -> None:
        self._module, self._n_tokens = module, n_tokens

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, a few rows at a time."""
        import torch

        with torch.inference_mode():
            parts = [
                self._module(torch.from_numpy(X[start : start + BATCH_ROWS])).numpy()
                for start in range(0, len(X), BATCH_ROWS)
            ]
        nothing = np.empty((0, self.n_scores), np.float32)
        return np.concatenate([nothing, *parts]).astype(np.float32)

    def importance(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the same share for each place: a place in a text has no importance of its own."""
        return np.full(self._n_tokens, 1 / self._n_tokens)

    def native(self) -> NativeModel:
        """Return the exported program."""
        from registry.flavors.programs import save_program

        return NativeModel("torch-export", save_program(self._module, (self._n_tokens,)))


class PretrainedText(Architecture):
    """The architecture; it loads the folder's model and trains nothing."""

    name = "pretrained_text"
    native_format = "torch-export"
    default_window = 1
    objectives: tuple[Loss, ...] = ("softmax",)
    text_encoder = "tokens"

    def fit(
        self,
        rows: TrainingRows,
        objective: Objective,
        parameters: Mapping[str, Json],
        seed: int,
        context: FitContext = QUIET,
    ) -> Estimator:
        """Load the transformer; only the shape of the rows is used.

        Raises:
            MissingPackageError: `transformers` is not installed.
            ParameterError: the folder is no sequence classifier of these three classes.
            FitError: another objective than three classes.
        """
        chosen = resolve(SPACES[self.name], parameters)
        check_rows(rows, objective)
        if objective != Objective("softmax", len(CLASSES)):
            problem = f"{objective.loss} with {objective.n_scores} scores"
            raise FitError(self.name, problem, "it knows negative, neutral and positive only")
        n_tokens = int(cast(int, chosen["max_tokens"]))
        if rows.X.shape[1:] != (n_tokens,):
            raise ShapeError("pretrained_text rows", f"(n, {n_tokens}) tokens", str(rows.X.shape))
        folder = _Folder.read(str(chosen["directory"]), str(chosen["labels"]))
        folder.check_length(n_tokens)
        return PretrainedEstimator(_load(folder), n_tokens)


@dataclass(frozen=True, slots=True)
class _Folder:
    """What a transformer's folder says of itself; `order` are its outputs for our classes."""

    path: Path
    config: Mapping[str, Any]
    order: tuple[int, ...]
    tokenizer: bytes

    @classmethod
    def read(cls, directory: str, labels: str) -> "_Folder":
        path = Path(directory)
        for name in (CONFIG_FILE, TOKENIZER_FILE):
            if not directory or not (path / name).is_file():
                expected = f"a folder with {CONFIG_FILE}, weights and {TOKENIZER_FILE}"
                raise ParameterError("directory", directory, expected)
        try:
            config = json.loads((path / CONFIG_FILE).read_text())
        except json.JSONDecodeError as exc:
            raise ParameterError("directory", directory, f"{CONFIG_FILE} to be JSON") from exc
        own = config.get("id2label", {})
        names = labels.split(",") if labels else [own[key] for key in sorted(own, key=int)]
        return cls(path, config, _order(names), (path / TOKENIZER_FILE).read_bytes())

    def check_length(self, n_tokens: int) -> None:
        longest = self.config.get("max_position_embeddings")
        if isinstance(longest, int) and n_tokens > longest:
            raise ParameterError("max_tokens", n_tokens, f"at most {longest}, as it was trained")


def _order(names: list[str]) -> tuple[int, ...]:
    plain = [str(name).strip().lower() for name in names]
    if sorted(plain) != sorted(CLASSES):
        expected = f"its outputs' names in their order, out of {', '.join(CLASSES)}"
        raise ParameterError("labels", ",".join(plain), expected)
    return tuple(plain.index(name) for name in CLASSES)


def _load(folder: _Folder) -> "nn.Module":
    """Return a module from token numbers (float32) to logits in our order, in evaluation mode."""
    try:
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging
    except ModuleNotFoundError as exc:
        what = "architecture 'pretrained_text'"
        raise MissingPackageError(what, "transformers", "transformers") from exc
    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            str(folder.path),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
        )
    except (OSError, ValueError, RuntimeError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        expected = f"a sequence classifier in safetensors ({reason})"
        raise ParameterError("directory", str(folder.path), expected) from exc
    return _classifier(model, folder)


def _classifier(model: Any, folder: _Folder) -> "nn.Module":
    import torch

    order, padding = list(folder.order), padding_number(folder.tokenizer)

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            numbers = tokens.to(torch.int64)
            attended = (numbers != padding).to(torch.int64)
            logits: torch.Tensor = self.model(input_ids=numbers, attention_mask=attended).logits
            return logits[:, order]

    return Classifier().eval()


PRETRAINED_TEXT = PretrainedText()
