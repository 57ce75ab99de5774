"""Lexicon: what a text's own words say of a company or a market, without any training.

A clause is read from left to right. Words and phrases of `pipelines/data/texts/lexicon_words.py`
add their weight. A word of direction ("rose", "cut") adds its direction times the sign of the
nearest topic, so that "costs fell" is good news and "profit fell" is bad. A negation turns the
words after it round, at `NEGATED` of their weight. "Sharply" and "slightly" strengthen and weaken a
neighbour. `signals` gives the numbers that a model sees.

It cannot read irony, comparisons over sentences, who is meant, or words outside the list;
docs/templates/sentiment.md says what was measured.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipelines.data.texts import lexicon_words as lists
from pipelines.data.texts.words import END, tokens

FEATURE_NAMES = (
    "tone",
    "positive_weight",
    "negative_weight",
    "uncertain_share",
    "known_share",
    "known_words",
)

AMPLIFIED, DAMPENED, NEGATED = 1.5, 0.5, -0.6
REACH = 4
"""Words between a direction and its topic, and words that a negation reaches."""
ALONE = 0.5
"""Share of its weight that a direction without a topic keeps."""
LONGEST_PHRASE = 3
SMOOTHING = 1.0
"""In tone = (P - N) / (P + N + 1): one weak word is a hint, several are a verdict."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The effect of a word or phrase.

    `weight` is what it adds (polar words, topics at rest). `direction` is how it moves a topic
    (sign and strength). `topic` is what a rise of this topic means: +1 good, -1 bad, 0 no topic.
    """

    weight: float = 0.0
    direction: float = 0.0
    topic: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading a text: sums of weights of good and bad words, and counts of words."""

    positive: float = 0.0
    negative: float = 0.0
    n_known: int = 0
    n_uncertain: int = 0
    n_words: int = 0

    @property
    def tone(self) -> float:
        """(P - N) / (P + N + 1), in (-1, 1)."""
        return (self.positive - self.negative) / (self.positive + self.negative + SMOOTHING)


def signals(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the columns `FEATURE_NAMES` of each text, float32 (n_texts, 6).

    Tone in (-1, 1); weights as ln(1 + sum); shares of the text's words; the number of words known.
    """
    rows = np.zeros((len(texts), len(FEATURE_NAMES)), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        found = read(text)
        size = max(found.n_words, 1)
        row[:] = (
            found.tone,
            np.log1p(found.positive),
            np.log1p(found.negative),
            found.n_uncertain / size,
            found.n_known / size,
            found.n_known,
        )
    return rows


def read(text: str) -> Reading:
    """Sum up the words of a text that the lexicon knows."""
    positive = negative = 0.0
    n_known = n_uncertain = n_words = 0
    for clause in _clauses(tokens(text)):
        n_words += len(clause)
        n_uncertain += sum(word in _uncertain() for word in clause)
        marks = _marks(clause)
        n_known += sum(mark.length for mark in marks)
        for value in _values(clause, marks):
            positive += max(value, 0.0)
            negative += max(-value, 0.0)
    return Reading(positive, negative, n_known, n_uncertain, n_words)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A known word or phrase at a place of a clause."""

    place: int
    length: int
    entry: Entry


def _clauses(found: Iterable[str]) -> Iterator[list[str]]:
    clause: list[str] = []
    for token in found:
        if token != END:
            clause.append(token)
        elif clause:
            yield clause
            clause = []
    if clause:
        yield clause


def _marks(clause: Sequence[str]) -> list[_Mark]:
    """Return the known words and phrases of a clause, the longest that fits at each place."""
    known, marks, place = entries(), [], 0
    while place < len(clause):
        for length in range(min(LONGEST_PHRASE, len(clause) - place), 0, -1):
            entry = known.get(" ".join(clause[place : place + length]))
            if entry is not None:
                marks.append(_Mark(place, length, entry))
                place += length
                break
        else:
            place += 1
    return marks


def _values(clause: Sequence[str], marks: Sequence[_Mark]) -> Iterator[float]:
    """Yield what each mark adds, in order; topics that a direction moves add nothing themselves."""
    topics = {mark.place: mark.entry.topic for mark in marks if mark.entry.topic}
    moved: dict[int, float] = {}
    taken: set[int] = set()
    for mark in marks:
        if mark.entry.direction:
            topic = _nearest(mark.place, topics)
            moved[mark.place] = mark.entry.direction * (ALONE if topic is None else topics[topic])
            if topic is not None:
                taken.add(topic)
    for mark in marks:
        value = moved.get(mark.place, 0.0 if mark.place in taken else mark.entry.weight)
        if value:
            yield value * _strength(clause, mark) * _sign(clause, mark.place)


def _nearest(place: int, topics: Mapping[int, int]) -> int | None:
    """Return the place of the nearest topic within reach; of two as near, the one before."""
    within = [at for at in topics if abs(at - place) <= REACH]
    return min(within, key=lambda at: (abs(at - place), at), default=None)


def _strength(clause: Sequence[str], mark: _Mark) -> float:
    after = mark.place + mark.length
    beside = {*clause[max(mark.place - 1, 0) : mark.place], *clause[after : after + 1]}
    if beside & _words(lists.AMPLIFIERS):
        return AMPLIFIED
    return DAMPENED if beside & _words(lists.DAMPENERS) else 1.0


def _sign(clause: Sequence[str], place: int) -> float:
    before = clause[max(place - REACH, 0) : place]
    return NEGATED if _words(lists.NEGATORS) & set(before) else 1.0


# The table of words ----------------------------------------------------------------------------


@cache
def entries() -> Mapping[str, Entry]:
    """Return every known word and phrase in all its forms; later lists override earlier ones."""
    found: dict[str, Entry] = {}
    groups = (
        (1, lists.POSITIVE_VERBS, lists.POSITIVE_FORMS),
        (-1, lists.NEGATIVE_VERBS, lists.NEGATIVE_FORMS),
    )
    for sign, verbs, forms in groups:
        found |= {word: Entry(sign * weight) for weight, word in _listed(verbs, forms)}
    found |= {word: Entry(topic=1) for word in lists.GOOD_TOPICS.split()}
    for weight, text in lists.BAD_TOPICS.items():
        found |= {word: Entry(weight, topic=-1) for word in text.split()}
    for sign, verbs, forms in (
        (1, lists.UP_VERBS, lists.UP_FORMS),
        (-1, lists.DOWN_VERBS, lists.DOWN_FORMS),
    ):
        found |= {word: Entry(direction=sign * w) for w, word in _listed(verbs, forms)}
    found |= {phrase: Entry(weight) for phrase, weight in lists.PHRASES.items()}
    return {word.replace("-", " "): entry for word, entry in found.items()}


def _listed(verbs: Mapping[float, str], forms: Mapping[float, str]) -> Iterator[tuple[float, str]]:
    for weight, text in verbs.items():
        for verb in text.split():
            yield from ((weight, form) for form in inflected(verb))
    for weight, text in forms.items():
        yield from ((weight, form) for form in text.split())


def inflected(verb: str) -> tuple[str, ...]:
    """Return a regular verb with its endings -s, -ed, -ing.

    A short verb ending in one vowel and one consonant doubles it (drop, dropped), and so does one
    in -el (cancelled, also canceled).
    """
    stems = [verb]
    if verb.endswith("e"):
        return verb, f"{verb}s", f"{verb}d", f"{verb[:-1]}ing"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb, f"{verb[:-1]}ies", f"{verb[:-1]}ied", f"{verb}ing"
    if _doubles(verb):
        stems = [verb + verb[-1]]
    elif verb.endswith("el"):
        stems.append(verb + "l")
    third = f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh")) else f"{verb}s"
    return verb, third, *(f"{stem}{ending}" for stem in stems for ending in ("ed", "ing"))


def _doubles(verb: str) -> bool:
    short = 3 <= len(verb) <= 4
    vowel, last = verb[-2] in "aeiou", verb[-1] not in "aeiouwxy"
    return short and vowel and last and verb[-3] not in "aeiou"


@cache
def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _uncertain() -> frozenset[str]:
    return _words(lists.UNCERTAIN)
