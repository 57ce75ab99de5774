import math
import zlib

import numpy as np
import pytest

from pipelines.data.texts.words import END, column, hashed, n_words, terms, tokens


def test_tokens_are_lower_case_words_numbers_and_ends_of_clauses():
    assert tokens("Sales rose 3.5%, costs didn\u2019t.") == [
        "sales", "rose", "0", END, "costs", "didn't", END,
    ]  # fmt: skip


def test_hyphens_separate_words_and_but_ends_a_clause():
    assert tokens("a write-down but small") == ["a", "write", "down", END, "but", "small"]


def test_words_of_other_alphabets_are_words():
    assert tokens("Прибыль выросла: Überschuß") == ["прибыль", "выросла", END, "überschuß"]


def test_pairs_do_not_reach_over_the_end_of_a_clause():
    assert terms("profit rose. costs fell") == [
        "profit", "rose", "costs", "fell", "profit rose", "costs fell",
    ]  # fmt: skip


def test_a_negation_changes_four_words_up_to_the_end_of_the_clause():
    assert terms("not a good year for banks at all")[:8] == [
        "not", "not_a", "not_good", "not_year", "not_for", "banks", "at", "all",
    ]  # fmt: skip
    assert "not_good" not in terms("not yet. good")


def test_the_column_of_a_word_is_its_crc32_modulo_the_width():
    assert column("profit", 4096) == zlib.crc32(b"profit") % 4096


def test_hashed_rows_are_damped_counts_of_length_one():
    row = hashed(["up up down"], width=2**16)[0].astype(np.float64)
    raw = {"up": 1 + math.log(2), "down": 1.0, "up up": 1.0, "up down": 1.0}
    length = math.sqrt(sum(v * v for v in raw.values()))
    expected = {zlib.crc32(k.encode()) % 2**16: v / length for k, v in raw.items()}
    assert {i: pytest.approx(v, abs=1e-6) for i, v in expected.items()} == {
        int(i): row[i] for i in np.flatnonzero(row)
    }


def test_a_text_without_words_is_a_row_of_zeros_and_rows_do_not_depend_on_each_other():
    rows = hashed(["...", "profit rose"])
    assert not rows[0].any()
    assert np.array_equal(rows[1:], hashed(["profit rose"]))


def test_n_words_counts_words_and_numbers():
    assert n_words("Up 3 percent, again.") == 4
