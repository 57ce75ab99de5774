"""Text encoders: texts as the numbers a model sees, the same in training and in serving.

- `lexicon`: tone, weights and counts of the finance lexicon (6 columns).
- `words`: the lexicon's columns, then hashed words and pairs of words (4096 by default).
- `tokens`: numbers of the word pieces of a transformer's own tokenizer, padded to one length.

An architecture names the encoder it needs; `feature_set=` chooses another where that makes sense.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.data.texts.lexicon import FEATURE_NAMES, signals
from pipelines.data.texts.words import END, NUMBER, WIDTH, hashed, tokens
from registry.errors import MissingPackageError, ParameterError, UnreadableArtifactError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENCODERS = ("lexicon", "words", "tokens")
DEFAULT = "words"
TOKENIZER_FILE, WORDS_FILE = "tokenizer.json", "words.bin"
KNOWN_SHARE = FEATURE_NAMES.index("known_share")
N_LEXICON = len(FEATURE_NAMES)

PROBE = (
    "Shares plunged after the impairment.",
    "Costs fell and profit didn't: not good, but better than expected.",
    "The meeting is on 3 May.",
    "",
)
"""Texts whose encoding makes the fingerprint."""


class TextEncoder(Protocol):
    """Texts -> float32 (n_texts, n_features); row by row, without state."""

    @property
    def name(self) -> str:
        """A name of `ENCODERS`."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row per text."""
        ...

    def coverage(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the share of each text's words that is known, (n_texts,); NaN: cannot say."""
        ...


@dataclass(frozen=True, slots=True)
class LexiconEncoder:
    """The lexicon's columns."""

    name: str = "lexicon"
    feature_names: tuple[str, ...] = FEATURE_NAMES

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return tone, weights, shares and counts; see `pipelines.data.texts.lexicon.signals`."""
        return signals(texts)

    def coverage(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the share of words that are in the lexicon."""
        return signals(texts)[:, KNOWN_SHARE].astype(np.float64)


class WordsEncoder:
    """The lexicon's columns and hashed words; see `pipelines.data.texts.words`.

    Args:
        known: `numbers_of_words` of the training texts; without them nothing is known of coverage.
            Hashed columns could not say it: soon a text has used each of them.
    """

    name = "words"

    def __init__(self, width: int = WIDTH, known: NDArray[np.uint32] | None = None) -> None:
        self.width = width
        self._known = None if known is None else frozenset(known.tolist())
        self.feature_names = (*FEATURE_NAMES, *(f"words_{i}" for i in range(width)))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n_texts, 6 + width)."""
        return np.concatenate((signals(texts), hashed(texts, self.width)), axis=1)

    def coverage(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the share of each text's different words that training texts had."""
        if self._known is None:
            return np.full(len(texts), np.nan)
        found = [set(numbers_of_words([text]).tolist()) for text in texts]
        return np.array([len(words & self._known) / max(len(words), 1) for words in found])


class TokensEncoder:
    """Token numbers of a tokenizer, cut or padded to `n_tokens`; its file travels with a version.

    Raises:
        MissingPackageError: `tokenizers` is not installed.
        UnreadableArtifactError: the bytes are no tokenizer.
    """

    name = "tokens"

    def __init__(self, content: bytes, n_tokens: int) -> None:
        self._tokenizer = _tokenizer(content)
        self._pad = padding_number(content)
        self._n_tokens = n_tokens
        self._digest = hashlib.sha256(content).hexdigest()
        self.feature_names = tuple(f"token_{i}" for i in range(n_tokens))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return token numbers, exact in float32; beyond the text the padding's number."""
        rows = np.full((len(texts), self._n_tokens), self._pad, dtype=np.float32)
        self._tokenizer.enable_truncation(self._n_tokens)
        for row, found in zip(rows, self._tokenizer.encode_batch(list(texts)), strict=True):
            row[: len(found.ids)] = found.ids
        return rows

    def coverage(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return NaN: a tokenizer has a piece for everything."""
        return np.full(len(texts), np.nan)


def files_of(name: str) -> tuple[str, ...]:
    """Return the files that an encoder needs in a version."""
    return {"words": (WORDS_FILE,), "tokens": (TOKENIZER_FILE,)}.get(name, ())


def make(name: str, n_features: int, files: Mapping[str, bytes]) -> TextEncoder:
    """Return the encoder of a contract (`feature_set`, number of features, files).

    Raises:
        ParameterError: no encoder has this name, or `tokens` without a tokenizer.
    """
    if name == "lexicon":
        return LexiconEncoder()
    if name == "words":
        known = files.get(WORDS_FILE)
        numbers = None if known is None else np.frombuffer(known, dtype="<u4")
        return WordsEncoder(n_features - N_LEXICON, numbers)
    if name == "tokens" and TOKENIZER_FILE in files:
        return TokensEncoder(files[TOKENIZER_FILE], n_features)
    raise ParameterError("feature_set", name, f"one of {', '.join(ENCODERS)}")


def numbers_of_words(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Return the CRC-32 of every different word of the texts, sorted; numbers are no words."""
    words = {word for text in texts for word in tokens(text)} - {END, NUMBER}
    found = sorted({zlib.crc32(word.encode()) for word in words})
    return np.array(found, dtype="<u4")


def fingerprint(encoder: TextEncoder) -> str:
    """Return a digest of what the encoder makes of fixed texts."""
    values = encoder.encode(PROBE)
    text = "\n".join(
        ",".join(f"{j}:{row[j]:.6g}" for j in np.flatnonzero(row)) for row in values.astype(float)
    )
    return hashlib.sha256(f"{encoder.name} {values.shape[1]}\n{text}".encode()).hexdigest()


def padding_number(content: bytes) -> int:
    """Return the number of the padding token: `[PAD]` or `<pad>`, else 0."""
    tokenizer = _tokenizer(content)
    for token in ("[PAD]", "<pad>"):
        number = tokenizer.token_to_id(token)
        if number is not None:
            return int(number)
    return 0


def _tokenizer(content: bytes) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as exc:
        raise MissingPackageError("feature set 'tokens'", "tokenizers", "transformers") from exc
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as exc:  # the library raises nothing narrower
        raise UnreadableArtifactError("native", f"{TOKENIZER_FILE} is no tokenizer") from exc
    tokenizer.no_padding()
    return tokenizer
