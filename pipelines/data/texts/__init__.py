"""Texts as numbers: words, a finance lexicon, tokens, and sentences to learn from."""
