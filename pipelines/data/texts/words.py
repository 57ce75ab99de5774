"""Words: texts as tokens, and as hashed counts of words and pairs of words. Numpy only.

`hashed` is stateless: a word's column is its CRC-32 modulo the width, so there is no vocabulary to
store, serving computes what training did, and a word never seen before has a column too. Counts
are damped (1 + ln count) and each text's row has length 1 (Salton and Buckley 1988); weights by
rarity (idf) are fitted, so they belong to an architecture. Two words may share a column: at the
default width a text of 20 words meets another word of itself in about 2 texts of 10.

Negation: the words after "not", "no", "without", ... up to the end of the clause, at most
`NEGATED_WORDS`, are other words ("not_profitable").
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.data.texts.lexicon_words import CLAUSE_WORDS, NEGATORS

WIDTH = 4096
NEGATED_WORDS = 4
NUMBER = "0"
"""Every number is the same word, because its size means nothing to a linear model."""
END = "."
"""Stands between clauses: no pair of words and no negation reaches over it."""

_TOKEN = re.compile(r"\d[\d.,]*%?|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.,;:!?()\n]")
_CLAUSE_WORDS = frozenset(CLAUSE_WORDS.split())
_NEGATORS = frozenset(NEGATORS.split())


def tokens(text: str) -> list[str]:
    """Return a text's words in lower case, `0` for each number, and `.` between clauses.

    Hyphens separate words; apostrophes do not ("don't").
    """
    found = []
    for token in _TOKEN.findall(text.lower().replace("\u2019", "'")):
        if token[0].isdigit():
            found.append(NUMBER)
        elif not token[0].isalpha():
            found.append(END)
        else:
            found += [END, token] if token in _CLAUSE_WORDS else [token]
    return found


def n_words(text: str) -> int:
    """Count the words and numbers of a text."""
    return sum(token != END for token in tokens(text))


def terms(text: str) -> list[str]:
    """Return a text's words and pairs of neighbouring words ("a b"), negated ones marked."""
    marked = _negated(tokens(text))
    words = [token for token in marked if token != END]
    pairs = [
        f"{first} {second}" for first, second in pairwise(marked) if END not in (first, second)
    ]
    return words + pairs


def hashed(texts: Sequence[str], width: int = WIDTH) -> NDArray[np.float32]:
    """Return one row per text, float32 (n_texts, width), of length 1; 0 for a text without words.

    Args:
        width: columns; a word's is CRC-32(word) modulo width.
    """
    rows = np.zeros((len(texts), width), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        counts = Counter(column(term, width) for term in terms(text))
        if not counts:
            continue
        damped = {place: 1 + math.log(count) for place, count in counts.items()}
        length = math.sqrt(sum(value * value for value in damped.values()))
        for place, value in damped.items():
            row[place] = value / length
    return rows


def column(term: str, width: int = WIDTH) -> int:
    """Return the column of a word or pair of words."""
    return zlib.crc32(term.encode()) % width


def _negated(found: Iterable[str]) -> list[str]:
    marked, left = [], 0
    for token in found:
        if token == END:
            left = 0
            marked.append(token)
        elif token in _NEGATORS:
            left = NEGATED_WORDS
            marked.append(token)
        else:
            marked.append(f"not_{token}" if left else token)
            left = max(0, left - 1)
    return marked
